"""Requests as they come in: OpenAI's lines in a file, or in a list in the request itself.

What is wrong with the form of a line fails the whole batch, and every such line is named. What is
wrong with a request inside a line is that item's own failure, and nobody else's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from penstock.batch.records import FileError, NewItem
from penstock.errors import InvalidInput, TooLarge

NAMED: Final = 100  # errors of one file that are told
LONGEST_ID: Final = 512
LONGEST_BODY: Final = 1 << 20  # bytes; as long as a line of a file


class Line(msgspec.Struct, frozen=True):
    """One line of an input file."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class Request(msgspec.Struct, frozen=True):
    """One of the requests of an inline batch: a line, of which only the body is needed."""

    body: msgspec.Raw
    custom_id: str | None = None
    method: str | None = None
    url: str | None = None


_line = msgspec.json.Decoder(Line)


def inline(requests: Sequence[Request], *, endpoint: str, most: int) -> list[NewItem]:
    """The items of an inline batch. Raises InvalidInput that names every wrong one, or TooLarge."""
    if not requests:
        wrong = {"pointer": "/requests", "detail": "is empty"}
        raise InvalidInput("a batch needs at least one request", errors=[wrong])
    if len(requests) > most:
        raise TooLarge(f"{len(requests)} requests in one batch; at most {most} are taken")
    form = _Form(endpoint)
    items: list[NewItem] = []
    for number, request in enumerate(requests):
        form.check(number, request.custom_id, request.method, request.url)
        if len(bytes(request.body)) > LONGEST_BODY:
            form.tell(
                "body_too_long", f"the body is longer than {LONGEST_BODY} bytes", number, "body"
            )
        items.append(NewItem(number, bytes(request.body), request.custom_id))
    if form.errors:
        listed = [
            {"pointer": f"/requests/{error.line}/{error.param}", "detail": error.message}
            for error in form.errors
        ]
        raise InvalidInput(form.errors[0].message, errors=listed)
    return items


class Reading:
    """Reads a file's lines into items; `errors` says what is wrong with the file."""

    def __init__(self, *, endpoint: str, most: int) -> None:
        self._form = _Form(endpoint)
        self._most = most
        self.total = 0

    @property
    def errors(self) -> list[FileError]:
        """What is wrong, line by line; at most a hundred."""
        return self._form.errors

    async def items(self, lines: AsyncIterator[tuple[int, bytes | None]]) -> AsyncIterator[NewItem]:
        """The items of the lines that have the right form, numbered from 0."""
        async for number, line in lines:
            item = self._read(number, line)
            if len(self.errors) == NAMED:  # no more are told, and the batch is refused
                return
            if item is None:
                continue
            if self.total == self._most:
                self._form.tell("too_many_requests", f"more than {self._most} requests", number)
                return
            self.total += 1
            yield item
        if not self.total and not self.errors:
            self._form.tell("empty_file", "the file holds no request", None)

    def _read(self, number: int, line: bytes | None) -> NewItem | None:
        if line is None:
            self._form.tell("line_too_long", "the line is too long", number)
            return None
        try:
            found = _line.decode(line)
        except msgspec.ValidationError as error:
            self._form.tell("invalid_request", str(error), number)
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._form.tell("invalid_json_line", "the line is not JSON", number)
            return None
        self._form.check(number, found.custom_id, found.method, found.url)
        return NewItem(self.total, bytes(found.body), found.custom_id)


class _Form:
    """What lines and inline requests have in common."""

    def __init__(self, endpoint: str) -> None:
        self.errors: list[FileError] = []
        self._endpoint = endpoint
        self._ids: set[str] = set()

    def check(self, line: int, custom_id: str | None, method: str | None, url: str | None) -> None:
        """Look at everything but the body."""
        if method not in (None, "POST"):
            self.tell("invalid_method", f"the method is {method[:20]!r}, not POST", line, "method")
        if url not in (None, self._endpoint):
            what = f"the url is {url[:100]!r}, the batch's endpoint is {self._endpoint!r}"
            self.tell("mismatched_url", what, line, "url")
        if custom_id is None:
            return
        if len(custom_id) > LONGEST_ID:
            self.tell("invalid_custom_id", "the custom_id is too long", line, "custom_id")
        elif custom_id in self._ids:
            what = f"the custom_id {custom_id[:100]!r} was there before"
            self.tell("duplicate_custom_id", what, line, "custom_id")
        else:
            self._ids.add(custom_id)

    def tell(self, code: str, message: str, line: int | None, param: str | None = None) -> None:
        """Remember what is wrong."""
        if len(self.errors) < NAMED:
            self.errors.append(FileError(code, message, line, param))
