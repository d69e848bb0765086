"""Signs what is posted, so that a receiver knows who sent it and when (Standard Webhooks 1.0).

    webhook-id         the event's id: the same on every attempt
    webhook-timestamp  seconds since 1970 of this attempt, so that an old request cannot be replayed
    webhook-signature  `v1,` and base64 of HMAC-SHA256(secret, id.timestamp.body); one for each
                       secret while two are good, with a space between

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32  # the specification asks for 24 to 64


def new_secret() -> str:
    """A secret as receivers' libraries take it."""
    return PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed(id: str, *, timestamp: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The headers of one attempt; `timestamp` in seconds."""
    content = b".".join((id.encode(), str(timestamp).encode(), body))
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, content) for secret in secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    key = b64decode(secret.removeprefix(PREFIX))
    return "v1," + b64encode(hmac.digest(key, content, "sha256")).decode()
