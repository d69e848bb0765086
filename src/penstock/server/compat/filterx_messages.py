"""FilterX's requests and answers, and how its images are read."""

from __future__ import annotations

import binascii
import re
from typing import Annotated, Any, Final, Literal, get_args

import msgspec

from penstock.errors import InvalidInput, TooLarge
from penstock.images.formats import FORMATS, sniff
from penstock.services.moderation.filtering import HISTORY, Allowed

MOST_ITEMS: Final = 10
LONGEST_TEXT: Final = 100_000  # characters
LONGEST_OLD: Final = 160  # characters of an earlier message: its end, which is all that is read

_BLANKS = re.compile(r"\s+")
_SNIFFED = 64  # characters of base64 that tell an image's format

Given = bool | int | str | None
Model = Literal["fast", "normal", "pro"]
_MODELS: Final[dict[str, Any]] = {"enum": [*get_args(Model), None]}


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
    model: Annotated[str | None, msgspec.Meta(extra_json_schema=_MODELS)] = None

    def check(self, at: str) -> None:
        """Refuse what cannot be filtered. Raises InvalidInput and TooLarge, with places below `at`.

        That there is a text or an image is for the route to say.
        """
        if self.model is not None and self.model not in get_args(Model):
            known = ", ".join(get_args(Model))
            detail = f"no model is called {self.model[:80]!r}; known: {known}"
            raise InvalidInput(detail, errors=[{"pointer": f"{at}/model", "detail": detail}])
        if self.text is not None and len(self.text) > LONGEST_TEXT:
            detail = f"has {len(self.text)} characters; at most {LONGEST_TEXT} are filtered"
            told = f"the text {detail}; /v1/moderations reads longer ones"
            raise TooLarge(told, errors=[{"pointer": f"{at}/text", "detail": detail}])

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
    verdicts: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET  # in batches; else a header


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
