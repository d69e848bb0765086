"""TLS to servers of one's own: whom to trust, what to show, and what went wrong, in words.

A context is made once and again when a file of it changes: reading the system's authorities takes
30 ms and more, which no event loop has, and an authority is renewed while servers run.
"""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from typing import Final, NamedTuple

CONTEXTS: Final = 16  # kept; one for each address that a process speaks to

DEPTH: Final = 8  # of errors behind an error

_NAME_MISMATCH: Final = (62, 63, 64)  # X509_V_ERR_HOSTNAME_, EMAIL_, IP_ADDRESS_MISMATCH
_TIMES: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_UNACCEPTED: Final = ("UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED")


class Terms(NamedTuple):
    """On which terms a connection is made. Without authorities, those of the system are trusted."""

    authorities: str = ""  # a PEM file
    folder: str = ""  # of authorities, as c_rehash leaves it
    certificate: str = ""  # a PEM file: what is shown to a server that asks
    key: str = ""
    password: str = ""  # of the key
    verify: ssl.VerifyMode = ssl.CERT_REQUIRED
    check_name: bool = True

    @property
    def is_checked(self) -> bool:
        """Whether nobody else can answer in the server's place."""
        return self.verify != ssl.CERT_NONE and self.check_name

    def __repr__(self) -> str:
        return f"Terms({self.authorities or 'the system'})"  # no password


class Spelling(NamedTuple):
    """How the parts of `Terms` are called in an address, and where that is set."""

    authorities: str
    certificate: str
    key: str
    variable: str


class Unusable(OSError):
    """A file that an address names is no good; its text says which."""


class Ended(ConnectionResetError):
    """A server ended a connection before it could be heard why."""


def context(terms: Terms) -> ssl.SSLContext:
    """What connections are made by. Reads files: not on a loop. Raises `Unusable`."""
    stamps = tuple(_stamp(path) for path in (terms.authorities, terms.certificate, terms.key))
    return _made(terms, stamps)


@lru_cache(maxsize=CONTEXTS)
def _made(terms: Terms, _stamps: tuple[tuple[int, int], ...]) -> ssl.SSLContext:
    try:
        made = ssl.create_default_context(
            cafile=terms.authorities or None, capath=terms.folder or None
        )
    except OSError as error:
        which = terms.authorities or terms.folder
        raise Unusable(f"{which} holds no certificates ({_reason(error)})") from error
    made.check_hostname = terms.check_name and terms.verify != ssl.CERT_NONE
    made.verify_mode = terms.verify
    if terms.certificate:
        try:
            # A password in any case: OpenSSL would ask for one on the terminal.
            made.load_cert_chain(terms.certificate, terms.key or None, lambda: terms.password)
        except OSError as error:
            which = " and ".join(path for path in (terms.certificate, terms.key) if path)
            raise Unusable(
                f"{which} cannot be used as certificate and key ({_reason(error)})"
            ) from error
    return made


def _stamp(path: str) -> tuple[int, int]:
    if not path:
        return 0, 0
    try:
        with open(path, "rb") as file:  # to be readable is more than to be there
            found = os.fstat(file.fileno())
    except OSError as error:
        raise Unusable(f"{path} cannot be read ({error.strerror})") from error
    return found.st_mtime_ns, found.st_ino


def explain(error: BaseException, spelling: Spelling) -> str | None:
    """What about TLS is wrong and what to do, after the server's name; None when it is not TLS."""
    match _behind(error):
        case Unusable() as found:
            return f"cannot be asked: {found}; correct {spelling.variable}"
        case Ended():
            return ended(spelling)
        case ssl.SSLCertVerificationError() as found:
            return _untrusted(found, spelling)
        case ssl.SSLError() as found:
            return _refused(found, spelling)
    return None


def _behind(error: BaseException) -> BaseException | None:
    """What of TLS an error is, or quotes: others of its chain may be a former connection's."""
    told = str(error)
    found: BaseException | None = error
    for _ in range(DEPTH):
        if isinstance(found, Unusable | Ended | ssl.SSLError) and str(found.args[-1]) in told:
            return found
        if found is None:
            break
        found = found.__cause__ or found.__context__
    return None


def _untrusted(error: ssl.SSLCertVerificationError, spelling: Spelling) -> str:
    why = error.verify_message.rstrip(".")
    if error.verify_code in _NAME_MISMATCH:
        return (
            f"shows a certificate of another name ({why}); "
            f"write the name that its certificate has into {spelling.variable}"
        )
    if error.verify_code in _TIMES:
        return f"shows a certificate that is not valid now ({why}); renew it there"
    return (
        f"shows a certificate that is not trusted ({why}); name the file of the authority that "
        f"signed it in {spelling.variable}: ?{spelling.authorities}=/path/ca.pem"
    )


def _refused(error: ssl.SSLError, spelling: Spelling) -> str:
    reason = _name_of(error)
    own = _own(spelling)
    if isinstance(error, ssl.SSLEOFError):
        return ended(spelling)
    if reason.endswith(("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")):
        return (
            "asks for a certificate of the client; name one and its key in "
            f"{spelling.variable}: {own}"
        )
    if reason.endswith(_UNACCEPTED):
        return (
            f"does not accept the client's certificate ({_reason(error)}); name one that an "
            f"authority signed which the server trusts: {own}"
        )
    return (
        f"and this client do not agree on TLS ({_reason(error)}); see whether this port speaks it, "
        f"and correct {spelling.variable}"
    )


def ended(spelling: Spelling) -> str:
    """What may be behind a connection that was cut off before its server could say why."""
    return (
        "ended the connection; see whether it runs, speaks TLS, or asks for a certificate of "
        f"the client, to be named in {spelling.variable}: {_own(spelling)}"
    )


def _own(spelling: Spelling) -> str:
    return f"{spelling.certificate}=/path/client.pem&{spelling.key}=/path/client.key"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (_name_of(error) or "not PEM").replace("_", " ").lower()
    return error.strerror or type(error).__name__


def _name_of(error: ssl.SSLError) -> str:
    """OpenSSL's name for it; one that was made in Python has none."""
    return getattr(error, "reason", None) or ""
