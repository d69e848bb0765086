"""What stands around a number tells what it is: `call me on` or `order no.`."""

from __future__ import annotations

import re
from typing import Literal

from penstock.pii.listed import listed

_BEFORE, _AFTER = 40, 14

_PHONE = listed(
    """call calls called calling txt text texted texting phone tel telephone mobile mob cellphone
    whatsapp wapp viber sms dial ring reach contact hotline fax imessage facetime tlf telefon
    telefono handy handynummer movil llama llamame appelle appelez anruf ruf signal celular
    portable hmu nummer numero num"""
)
_OTHER = listed(
    """order orders invoice ref reference id ids isbn issn sku ticket tracking serial part model
    case account acct build version ver commit confirmation receipt item product doi arxiv pmid
    upc ean gtin patent bug issue page pages port error code zip vat ssn timestamp epoch parcel
    shipment booking batch lot hash checksum seed uid uuid population pi equals total score
    scores sum result won lost lottery numbers digits firmware release sdk driver kernel section
    chapter clause figure revision rev v"""
)
_OWNED = frozenset(("my", "his", "her", "our", "your", "ur"))
_WORDS = re.compile(r"[a-z]+")
_SIGN = frozenset("#$€£¥^")
_OPERATORS = frozenset("*+/<>%&|")
_UNIT = re.compile(
    r"\s?(?:[%°€$£¥=]|[kmgt]i?b\b|[munk]?[sm]\b|px|bytes?\b|k[mg]\b|usd\b|eur\b|gbp\b|dollars?\b|"
    r"euros?\b|people\b|users?\b|times\b|views\b|years?\b|miles\b|points?\b|rows\b|votes\b|items\b)"
)

Sense = Literal["phone", "other", ""]


def sense(lower: str, start: int, end: int) -> Sense:
    """What the words nearest to a number say it is."""
    if _UNIT.match(lower, end, end + _AFTER):
        return "other"
    near = lower[max(0, start - 2) : start]
    spaced = near[-1:] == " "
    sign = near[0] if spaced else near[-1:]
    if sign in _SIGN or (spaced and len(near) > 1 and sign in _OPERATORS):
        return "other"
    words = _WORDS.findall(lower, max(0, start - _BEFORE), start)
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if word in _PHONE:
            return "phone"
        if word in _OTHER:
            return "other"
        if word in ("number", "cell") and at and words[at - 1] in _OWNED:
            return "phone"
    # `phone = 2125550134` was told by its word; any other value is a value.
    return "other" if near.strip()[-1:] == "=" else ""
