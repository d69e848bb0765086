"""Every error of the client, in one tree.

    PenstockError
    ├── ConnectionError             no answer: not reachable, or cut; also a builtin ConnectionError
    │   └── TimeoutError            no answer in time; also a builtin TimeoutError
    ├── InvalidAnswerError          an answer that is not one of a Penstock server
    ├── WaitTimeoutError            `wait(timeout=...)` is over, the job goes on; also a builtin one
    ├── JobFailedError              the job ended without a result
    │   └── JobCancelledError       it was cancelled, or its time ran out before it began
    └── APIError                    the server answered with an error
        ├── BadRequestError         400
        ├── AuthenticationError     401  no valid key
        ├── PermissionDeniedError   403  the key's role does not allow it, or it is someone else's
        ├── NotFoundError           404
        ├── ConflictError           409  does not fit the present state
        ├── TooLargeError           413
        ├── InvalidInputError       422  `errors` says which field is wrong
        ├── RateLimitError          429  `retry_after` in seconds
        └── ServerError             5xx

No message holds the key or a text that was sent.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from typing import Any, Final


class PenstockError(Exception):
    """Something went wrong between the caller and the server."""


class ConnectionError(PenstockError, builtins.ConnectionError):
    """No answer came: the server is not reachable, or the connection was cut."""


class TimeoutError(ConnectionError, builtins.TimeoutError):
    """No answer came in time."""


class InvalidAnswerError(PenstockError):
    """What came back cannot be understood."""


class WaitTimeoutError(PenstockError, builtins.TimeoutError):
    """The job was not done within the time that `wait` was given.

    It goes on: wait again, or cancel it.
    """


class JobFailedError(PenstockError):
    """The job ended without a result; `job` is its last state."""

    def __init__(self, message: str, job: Any = None) -> None:
        self.job = job
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.job)


class JobCancelledError(JobFailedError):
    """The job was cancelled, or its time ran out before it began."""


class APIError(PenstockError):
    """The server answered with an error.

    `code` is the last part of the problem's type (`not_found`), `problem` the whole document
    (RFC 9457), `request_id` what the server's log has more under, `retry_after` the seconds after
    which the server asks to come again.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str | None = None,
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.detail = detail
        self.status = status
        self.code = code
        self.request_id = request_id
        self.problem: Mapping[str, Any] = problem or {}
        self.retry_after = retry_after
        super().__init__(f"{status}: {detail}" + (f" (request {request_id})" if request_id else ""))

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Which fields are wrong: a JSON pointer into the request and a detail each."""
        found = self.problem.get("errors")
        return found if isinstance(found, list) else []

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.detail, dict(self.__dict__))


class BadRequestError(APIError):
    """400: the request cannot be served as it is."""


class AuthenticationError(APIError):
    """401: the request carries no valid key."""


class PermissionDeniedError(APIError):
    """403: the key's role does not allow this, or the thing is someone else's."""


class NotFoundError(APIError):
    """404: there is nothing under this id or address."""


class ConflictError(APIError):
    """409: the request does not fit the present state."""


class TooLargeError(APIError):
    """413: more than the server takes in one request."""


class InvalidInputError(APIError):
    """422: the input does not have the expected form."""


class RateLimitError(APIError):
    """429: the key's limit is used up."""


class ServerError(APIError):
    """5xx: the server, or something behind it, failed."""


_BY_STATUS: Final[Mapping[int, type[APIError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
    422: InvalidInputError,
    429: RateLimitError,
}


def error_of(
    status: int, body: bytes, *, request_id: str | None, retry_after: float | None
) -> APIError:
    """The error that an answer stands for; a proxy's page instead of a problem is no obstacle."""
    problem = _problem(body)
    slug = str(problem.get("type", "")).partition("#")[2]
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else APIError)
    return kind(
        str(problem.get("detail") or problem.get("title") or "the answer says no more"),
        status=status,
        code=slug.replace("-", "_") or None,
        request_id=str(problem.get("request_id") or "") or request_id,
        problem=problem,
        retry_after=retry_after,
    )


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _rebuilt(kind: type[APIError], detail: str, state: dict[str, Any]) -> APIError:
    """An error that another process raised: pickle would call the constructor without names."""
    error = kind(detail, status=state["status"], request_id=state["request_id"])
    error.__dict__.update(state)
    return error
