"""FilterX's requests and answers, and how its images are read."""

from __future__ import annotations

import binascii
import re
from typing import Annotated, Final, Literal

import msgspec

from penstock.errors import InvalidInput
from penstock.images.formats import FORMATS, sniff
from penstock.services.moderation.filtering import HISTORY, Allowed

MOST_ITEMS: Final = 10
LONGEST_OLD: Final = 1_000  # characters of an earlier message

_BLANKS = re.compile(r"\s+")
_SNIFFED = 64  # characters of base64 that tell an image's format

Given = bool | int | str | None


class FilterConfig(msgspec.Struct, rename="camel"):
    """What is let through; `true`, `"true"`, 1 and `"1"` set a flag, as they do in FilterX."""

    allow_abuse: Given = False
    allow_phone: Given = False
    allow_email: Given = False
    allow_physical_information: Given = False
    allow_social_information: Given = False
    return_filtered_message: Given = False
    analyze_images: Given = False

    @property
    def allowed(self) -> Allowed:
        """What the text may hold."""
        return Allowed(
            abuse=is_set(self.allow_abuse),
            phone=is_set(self.allow_phone),
            email=is_set(self.allow_email),
            physical=is_set(self.allow_physical_information),
            social=is_set(self.allow_social_information),
        )


class OldMessage(msgspec.Struct):
    """An earlier message."""

    text: str = ""


class FilterRequest(msgspec.Struct, rename="camel"):
    """A text, an image (base64, alone or as a data URL), or both."""

    text: str | None = None
    image: str | None = None
    config: FilterConfig | None = None
    old_messages: list[str | OldMessage] | None = None  # oldest first; the last 15 are read
    model: Literal["fast", "normal", "pro"] | None = None

    @property
    def history(self) -> list[str]:
        """Earlier messages, the ends of those that are read."""
        last = (self.old_messages or [])[-HISTORY:]
        return [(old if isinstance(old, str) else old.text)[-LONGEST_OLD:] for old in last]


class FilterResponse(msgspec.Struct, rename="camel"):
    """What was found that is not allowed."""

    blocked: bool
    flags: tuple[str, ...]
    reason: str
    filtered_message: str | msgspec.UnsetType = msgspec.UNSET


class FilterBatchRequest(msgspec.Struct):
    """Up to ten requests at once."""

    items: Annotated[list[FilterRequest], msgspec.Meta(min_length=1, max_length=MOST_ITEMS)]


class FilterBatchResponse(msgspec.Struct):
    """Their answers, in their order."""

    results: list[FilterResponse]


def is_set(value: Given) -> bool:
    """Whether a caller set a flag."""
    return value is True or value in (1, "1", "true")


def data_url(image: str, pointer: str) -> str:
    """The data URL of an image that came as one, or as its base64 alone."""
    if image[:5].lower() == "data:":
        return image
    bare = _BLANKS.sub("", image)
    try:
        name = sniff(binascii.a2b_base64(bare[:_SNIFFED]))
    except (ValueError, UnicodeEncodeError):
        name = None
    if name is None:
        detail = f"is no base64 of an image; known formats: {', '.join(FORMATS)}"
        raise InvalidInput(f"the image {detail}", errors=[{"pointer": pointer, "detail": detail}])
    return f"data:{FORMATS[name].media_type};base64,{bare}"
