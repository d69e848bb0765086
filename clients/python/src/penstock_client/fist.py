"""FIST's client by its old name and arguments; everything else is `Penstock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock_client.client import Penstock
from penstock_client.config import DEFAULT_RETRIES, DEFAULT_TIMEOUT

if TYPE_CHECKING:
    import httpx2

    from penstock_client.clock import Clock


class FistClient(Penstock):
    """`Penstock`, called as FIST's clients are: a token, then the server's address."""

    def __init__(
        self,
        token: str,
        base_url: str | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_RETRIES,
        http_client: httpx2.Client | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            base_url=base_url,
            api_key=token,
            timeout=timeout,
            max_retries=max_retries,
            http_client=http_client,
            clock=clock,
        )
