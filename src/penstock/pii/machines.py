"""IP addresses, and what only looks like them: versions, times, section numbers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from penstock.pii.listed import listed
from penstock.pii.match import Match

_DOT = r"(?:\s?[\[({]\s?(?:\.|dot)\s?[\])}]\s?|\s+dot\s+|\.)"
_PART = r"(0|[1-9][0-9]{0,2})"
_FOUR = re.compile(rf"{_PART}{_DOT}{_PART}{_DOT}{_PART}{_DOT}{_PART}(?![\w])(?!\.\w)")
_FIRST = re.compile(rf"[0-9](?<![0-9].)[0-9]{{0,2}}+(?={_DOT}[0-9])")
_SIX = re.compile(r"(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:])")
_VERSIONED = listed(
    """v ver version release build firmware driver sdk update upgrade upgraded section chapter
    clause oid python node chrome windows kernel"""
)
_SAID = listed("ip address addr host server ping dns ssh proxy vpn login from")
_WORDS = re.compile(r"[a-z]+")
_SMALL = 20  # four numbers below this are as often a version


def find(lower: str) -> Iterator[Match]:
    """IP addresses of both versions; loopback and netmasks are nobody's."""
    done = 0
    for first in _FIRST.finditer(lower):
        found = _FOUR.match(lower, first.start()) if first.start() >= done else None
        score = _version_four(lower, found) if found else 0.0
        if found and score:
            spelled = found.end() - found.start() > 3 + sum(map(len, found.groups()))
            rule, most = ("pii.ip.spelled", 0.9) if spelled else ("pii.ip", 1.0)
            yield Match("ip", *found.span(), min(score, most), rule)
            done = found.end()
    if "::" in lower or lower.count(":") >= 7:
        for six in _SIX.finditer(lower):
            shown = six[0] if six[0].endswith("::") else six[0].rstrip(":")
            if _is_version_six(shown):
                yield Match("ip", six.start(), six.start() + len(shown), 1.0, "pii.ip")


def _version_four(lower: str, found: re.Match[str]) -> float:
    numbers = [int(part) for part in found.groups()]
    if max(numbers) > 255 or numbers[0] in (0, 127) or numbers[0] >= 224:
        return 0.0
    start = found.start()
    near = lower[start - 2 : start] if start > 1 else " " + lower[:start]
    if near[-1:].isalnum() or near[-1:] in ("=", "~", "^", "<", ">", "_", "."):
        return 0.0
    if near[-1:] in ("/", "-") and near[:1].isalpha():
        return 0.0
    words = _WORDS.findall(lower, max(0, start - 24), start)
    if (words and words[-1] in _VERSIONED) or (words[-1:] == ["to"] and "upgraded" in words):
        return 0.0
    if (
        lower[found.end() : found.end() + 1] == "/"
        and lower[found.end() + 1 : found.end() + 2].isdigit()
    ):
        return 0.5  # a network, not a machine
    said = not _SAID.isdisjoint(words)
    if max(numbers) < _SMALL and not said and len(set(numbers)) > 1:
        return 0.5
    private = numbers[0] == 10 or numbers[:2] == [192, 168]
    private = private or (numbers[0] == 172 and 16 <= numbers[1] < 32)
    return 0.6 if private else 1.0


def _is_version_six(shown: str) -> bool:
    """Whether it is an address and no time, hardware address or name in a program."""
    groups = [part for part in shown.split(":") if part]
    if shown.startswith("ffff:ffff:"):
        return False
    if len(groups) < 2 or not any(map(str.isdigit, shown)):
        return False
    if len(groups) < 4 and not (shown[0] in "23f" and len(groups[0]) == 4):
        return False
    try:
        return not ipaddress.IPv6Address(shown).is_unspecified
    except ValueError:
        return False
