"""Profiles, invitations and handles on social networks.

A link is certain by its host. A handle is: `@name`; a name with an underscore, a dot or a digit
near a network's name; or any word that is no ordinary one behind "my snap is" or "insta:".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.pii.match import Match
from penstock.pii.networks import NAMES, NO_HANDLES, NO_NAMES, PROFILES, SUBDOMAINS
from penstock.pii.pieces import Nearby, around

_NEAR = 40
_ANY_NAME = "|".join(NAMES)
_DOT = r"\s?(?:\.|\[\.\]|\(\.\)|[\[(]?\bdot\b[\])]?)\s?"
_SLASH = r"\s?(?:/|\bslash\b|[\[(]slash[\])])\s?"
_BY_NUMBER = ("wa.me", "api.whatsapp.com")
_NUMBER = re.compile(r"\+?[0-9]{8,15}")
_SLASHES = re.compile(r"/|\bslash\b")
_PATHS = {host: re.compile(rf"/({path})") for host, path in PROFILES.items()}
_SPELLED_HOSTS = re.compile(
    r"(?<![\w.-])(?:www\.)?(?P<host>"
    + "|".join(_DOT.join(map(re.escape, host.split("."))) for host in PROFILES)
    + rf"){_SLASH}(?P<path>@?\+?[\w.$-]{{2,40}}(?:/[\w@.-]{{1,40}})?)"
)
_INVITE = re.compile(rf"(?<!\w)d[i1]sc[o0]rd(?:{_DOT}|\s)?gg{_SLASH}([\w-]{{2,30}})")
_MENTION = re.compile(r"@([a-z_0-9](?:[\w.]{0,28}\w)?)(?:@([\w-]+(?:\.[\w-]+)+))?")
_NAMED = re.compile(
    rf"(?<![\w@./-])(?P<my>(?:my|mi|our|add|on|me on|is on|have)\s+(?:\w+\s)?)?(?:{_ANY_NAME})"
    r"(?:'?s)?(?:\s(?:handle|user ?name|user|name|id|account|acc|profile|page|tag|@))?"
    r"(?P<link>\s?(?:is|:|=|-+>|→|~|-)\s?|\s+|\s?(?:it's|its|called|as|under|at)\s)"
    r"(?P<name>@?[\w][\w.-]{1,29})(?![\w@]|://|\.\w)"
)
_BEFORE = re.compile(
    rf"(?<![\w.@/-])(@?[a-z_][\w.]{{2,29}})\s(?:on|@|in|over on)\s(?:{_ANY_NAME})\b"
)
_NETWORK = re.compile(rf"(?<!\w)(?:{_ANY_NAME})(?!\w)")
_DECORATES = re.compile(
    r"[^\n]{0,80}\n\s*(?:async\s+)?(?:def|class|fn|fun|func|function|public|private|protected|@\w+\n)\b"
)
_ASKED = re.compile(r"\b(?:follow|add|dm|pm|message|msg|hmu|hit me up|find me|text|snap|tag me)\b")


def find_links(lower: str, places: list[tuple[str, int]]) -> Iterator[Match]:
    """Links to profiles and invitations; `places` are hosts and where they end."""
    for host, end in places:
        start = end - len(host)
        if host in SUBDOMAINS:
            left = start - 1
            while left > 0 and (lower[left - 1].isalnum() or lower[left - 1] == "-"):
                left -= 1
                if start - left > 64:
                    break
            if lower[start - 1 : start] == "." and lower[left : start - 1] not in ("", "www"):
                yield Match("social", left, end, 1.0, "pii.social.link")
            continue
        if start and (lower[start - 1].isalnum() or lower[start - 1] in "_-"):
            continue
        found = _PATHS[host].match(lower, end, end + 200)
        if found and found[1].strip(".-"):
            first = _link_start(lower, start)
            last = found.end() - (found[0][-1] == ".")
            yield Match("social", first, last, 1.0, "pii.social.link")
            number = _NUMBER.search(lower, end, last) if host in _BY_NUMBER else None
            if number:
                yield Match("phone", *number.span(), 1.0, "pii.phone.link")


def _link_start(lower: str, start: int) -> int:
    """With the scheme and the subdomain in front."""
    first = start
    while (
        first > 0
        and start - first < 24
        and (lower[first - 1].isalnum() or lower[first - 1] in ".-")
    ):
        first -= 1
    return (
        first - 3 - 5
        if lower[first - 8 : first] == "https://" and first >= 8
        else (first - 7 if lower[max(0, first - 7) : first] == "http://" else first)
    )


def find_spelled_links(lower: str, windows: list[tuple[int, int]]) -> Iterator[Match]:
    """`instagram dot com slash name`, `t[.]me/name`, `discord gg / code`."""
    for first, last in windows:
        slashes = (slash.span() for slash in _SLASHES.finditer(lower, first, last))
        for left, right in around(slashes, before=36, after=44, length=len(lower)):
            for found in _SPELLED_HOSTS.finditer(lower, left, right):
                if found["host"] not in PROFILES or " " in found[0]:
                    end = found.end("path")
                    yield Match("social", found.start(), end, 0.9, "pii.social.spelled")
            for invite in _INVITE.finditer(lower, left, right):
                yield Match("social", *invite.span(), 0.9, "pii.social.spelled")


def find_mentions(lower: str) -> Iterator[Match]:
    """`@name`, and `@name@server` of the Fediverse."""
    names: list[tuple[int, int]] = []
    for found in _MENTION.finditer(lower):
        if found[2] and _is_free(lower, found):
            yield Match("social", *found.span(), 1.0, "pii.social.handle")
        elif _is_free(lower, found) and _is_mention(lower, found):
            names.append(found.span())
    if not names:
        return
    near = around(names, before=_NEAR, after=_NEAR, length=len(lower))
    networks, asked = Nearby(_NETWORK, lower, near), Nearby(_ASKED, lower, near)
    for start, end in names:
        first, last = start - _NEAR, end + _NEAR
        quoted = lower[start - 1 : start] in ("'", '"') and lower[start - 1] == lower[end : end + 1]
        score = 0.5 if quoted else 0.8 if asked.is_within(first, last) else 0.6
        score = 1.0 if networks.is_within(first, last) else score
        yield Match("social", start, end, score, "pii.social.handle")


def _is_free(lower: str, found: re.Match[str]) -> bool:
    before = lower[found.start() - 1 : found.start()]
    return not before or not (before.isalnum() or before in "_.@/&=%+$`\\")


def _is_mention(lower: str, found: re.Match[str]) -> bool:
    """Whether it is a name and nothing of a program."""
    name, end = found[1], found.end()
    if len(name) < 3 or name in NO_HANDLES or lower[end : end + 1] in ("/", "(", "@", "{"):
        return False
    if name.split(".")[0] in NO_HANDLES or not any(map(str.isalpha, name)):
        return False
    return _DECORATES.match(lower, end) is None


def find_named(lower: str, windows: list[tuple[int, int]]) -> Iterator[Match]:
    """Handles that stand beside a network's name."""
    for first, last in windows:
        for found in _NAMED.finditer(lower, first, last):
            score = _named_score(found)
            if score:
                start, end = found.span("name")
                yield Match("social", start, end, score, "pii.social.handle")
        for found in _BEFORE.finditer(lower, first, last):
            name = found[1]
            if _is_shaped(name) or name[0] == "@":
                yield Match("social", *found.span(1), 0.8, "pii.social.handle")


def _named_score(found: re.Match[str]) -> float:
    name, link = found["name"].rstrip(".-"), found["link"].strip()
    plain = name.lstrip("@")
    if _NETWORK.fullmatch(plain) or plain.split(".")[0] in ("self", "this"):
        return 0.0
    if plain in NO_NAMES or len(plain) < 3 or not any(map(str.isalpha, plain)):
        return 0.0
    if name[0] == "@" or _is_shaped(plain):
        return 0.9
    if "-" in plain:
        return 0.0
    mine = (found["my"] or "").startswith(("my", "mi ", "our"))
    if link in (":", "=", "->", "→"):
        return 0.8
    if mine and link in ("is", "it's", "its", "called", "-"):
        return 0.8 if len(plain) > 3 else 0.6
    return 0.0


def _is_shaped(name: str) -> bool:
    """Whether it is written as no word is: with an underscore, a digit or a dot inside."""
    inner = name.strip("._")
    return (
        ("_" in name or any(map(str.isdigit, inner)) or "." in inner)
        and any(map(str.isalpha, inner))
        and not inner[0].isdigit()
    )
