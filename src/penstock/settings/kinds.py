"""What a setting can be, where a plain type does not say it."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, SecretStr

from penstock.net import address

_EXAMPLE = "CHANGE-ME"  # how the key of deploy/kubernetes/secret.example.yaml begins
# What HTML's forms take: ASCII, no spaces, nothing that means something in a header.
_MAIL: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
)


def split(value: object) -> object:
    """A list with commas as its parts; `none` is an empty one."""
    if isinstance(value, str):
        if value.strip().lower() == "none":
            return ()
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _can_be_read(url: str) -> str:
    if url and not url.startswith("sqlite:") and (fault := address.fault(url)):
        raise ValueError(fault)
    return url


def _is_no_example(key: SecretStr) -> SecretStr:
    if key.get_secret_value().upper().startswith(_EXAMPLE):
        raise ValueError(
            "it is the example's, which everybody knows; write one of your own: "
            "openssl rand -hex 24"
        )
    return key


def _is_mail_address(text: str) -> str:
    if len(text) > 254 or not _MAIL.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no mail address; write name@host.example and no more")
    return text


Words = Annotated[tuple[str, ...], BeforeValidator(split)]
MailAddress = Annotated[str, AfterValidator(_is_mail_address)]
MailAddresses = Annotated[tuple[MailAddress, ...], BeforeValidator(split)]
Address = Annotated[str, AfterValidator(_can_be_read)]
AdminKey = Annotated[SecretStr, AfterValidator(_is_no_example)]
