"""From the caller's arguments to paths, queries and bodies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, cast
from urllib.parse import quote, urlencode

from penstock_client.config import CallOptions


def split(options: Mapping[str, object], kind: type) -> tuple[dict[str, Any], CallOptions]:
    """What of the options is `kind`'s own, and what says how the call is made."""
    own = kind.__annotations__.keys() - CallOptions.__annotations__.keys()
    given = {name: value for name, value in options.items() if name in own}
    rest = {name: value for name, value in options.items() if name not in own}
    return given, cast("CallOptions", rest)


def parameter(value: object) -> object:
    """As a query has it; several words are read once, for all pages."""
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value


def as_json(body: Mapping[str, object]) -> bytes:
    """The body of a request."""
    encode = partial(json.dumps, separators=(",", ":"), allow_nan=False, default=_plain)
    try:
        return encode(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair: the server says in which text it is
        return encode(body).encode()


def _plain(value: object) -> object:
    """A mapping that is no dict, as one."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def as_query(query: Mapping[str, object]) -> str:
    """The query of a path, with its question mark; nothing where nothing is given."""
    given = {name: value for name, value in query.items() if value is not None and value != []}
    return "?" + urlencode(given, doseq=True) if given else ""


def as_id(given: str) -> str:
    """An id as a part of a path; what would lead elsewhere is refused."""
    if not given or given in (".", ".."):
        raise ValueError(f"{given!r} is no id")
    return quote(given, safe="")
