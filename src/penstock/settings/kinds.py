"""What a setting can be, where a plain type does not say it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr

from penstock.net.address import UNREADABLE, is_readable

_EXAMPLE = "CHANGE-ME"  # how the key of deploy/kubernetes/secret.example.yaml begins


def split(value: object) -> object:
    """A list with commas as its parts; `none` is an empty one."""
    if isinstance(value, str):
        if value.strip().lower() == "none":
            return ()
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _can_be_read(url: str) -> str:
    if url and not url.startswith("sqlite:") and not is_readable(url):
        raise ValueError(UNREADABLE)
    return url


def _is_no_example(key: SecretStr) -> SecretStr:
    if key.get_secret_value().upper().startswith(_EXAMPLE):
        raise ValueError(
            "it is the example's, which everybody knows; write one of your own: "
            "openssl rand -hex 24"
        )
    return key


Words = Annotated[tuple[str, ...], BeforeValidator(split)]
Address = Annotated[str, AfterValidator(_can_be_read)]
AdminKey = Annotated[SecretStr, AfterValidator(_is_no_example)]
