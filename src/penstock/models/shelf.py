"""Versions of the moderation model side by side: those of the package and those of an installation.

    models/data/*.npz               ship with the package; older versions stay there
    PENSTOCK_HOME/models/*.npz      put there by whoever runs the installation
    PENSTOCK_HOME/models/PINNED     the version that answers where nobody names one

A version is what the file holds: the model's name and the first digits of the file's SHA-256. So a
version never changes its answers, and a changed file is another version. PINNED is written at the
first use and from then on changed by people alone: an upgrade that ships a better model changes no
score of an installation that has begun to answer.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from penstock.errors import ConfigurationError, InvalidInput, ProviderUnavailable
from penstock.models.linear import LinearModel
from penstock.observe.logging import get_logger

CURRENT: Final = "moderation.npz"
PIN: Final = "PINNED"
MOST_FILES: Final = 64  # in one folder
MOST_BYTES: Final = 32 << 20  # of one file
MOST_LOADED: Final = 8  # models in memory, 4 MB each
HEADS: Final = frozenset(
    ("abuse", "hate", "threat", "sexual", "violence", "self_harm", "profanity", "other_language")
)

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shelved:
    """One version that can answer."""

    version: str
    path: Path
    origin: Literal["package", "home"]
    size_bytes: int
    is_current: bool  # what this version of the package ships as its own


class Shelf:
    """Finds model files and loads each at most once; any thread may ask."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._loaded: OrderedDict[str, LinearModel] = OrderedDict()
        self._read: dict[tuple[str, int, int], str] = {}  # a file as it was -> its version
        self._found: dict[str, Shelved] = {}

    def versions(self) -> list[Shelved]:
        """All versions, the current one first; looks into the folders, so ask in a thread.

        A file that holds no moderation model is left out, and a log line says why.
        """
        with self._lock:
            package = resources.files("penstock.models") / "data"
            listed = [*self._look(Path(str(package)), "package"), *self._look(self._folder, "home")]
            found: dict[str, Shelved] = {}
            for entry in listed:
                found.setdefault(entry.version, entry)
            self._found = found
            return sorted(found.values(), key=lambda entry: not entry.is_current)

    def current(self) -> str:
        """The version that this package ships as its own."""
        return next(entry.version for entry in self.versions() if entry.is_current)

    def load(self, version: str) -> LinearModel:
        """The model of this version, loaded in this thread if nobody asked for it lately.

        Raises InvalidInput for an unknown version, ProviderUnavailable for a file that is gone or
        was changed since it was found.
        """
        with self._loading:
            if version not in self._loaded:
                self._loaded[version] = _read(self._found.get(version) or self._find(version))
                if len(self._loaded) > MOST_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(version)
            return self._loaded[version]

    def pinned(self) -> str:
        """The version that answers where nobody names one; the first call settles it.

        Raises ProviderUnavailable when its file is gone: another version would be another score.
        """
        path = self._folder / PIN
        try:
            version = path.read_text("utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            version = self.current()
            self._settle(version)
        except (OSError, UnicodeDecodeError) as error:
            raise ProviderUnavailable(f"{path} cannot be read: {error}") from error
        try:
            self._found.get(version) or self._find(version)
        except InvalidInput as error:
            raise ProviderUnavailable(
                f"{path} names a model version that is not there: {error.detail}; put its file "
                "back, or choose another with: penstock perspective use VERSION"
            ) from error
        return version

    def pin(self, version: str) -> None:
        """Make `version` the one that answers from now on. Raises InvalidInput for an unknown one.

        A process that runs already hears of it from the caller.
        """
        self._find(version)
        draft = self._folder / f".{PIN}.{os.getpid()}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_text(f"{version}\n", "utf-8")
            draft.replace(self._folder / PIN)
        except OSError as error:
            raise ConfigurationError(
                f"{self._folder / PIN} cannot be written: {error.strerror}"
            ) from error

    def _settle(self, version: str) -> None:
        """Write the first pin; where that fails the current version answers all the same."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self._folder / PIN).open("x", encoding="utf-8") as file:
                file.write(f"{version}\n")
        except FileExistsError:
            return  # another process was first, with the same version
        except OSError as error:
            _log.warning("models.not_pinned", error=str(error))

    def _find(self, version: str) -> Shelved:
        known = {entry.version: entry for entry in self.versions()}
        if version not in known:
            raise InvalidInput(
                f"no model version {version[:100]!r} is here; known: {', '.join(known)}",
                errors=[{"pointer": "/model", "detail": "is not known"}],
            )
        return known[version]

    def _look(self, folder: Path, origin: Literal["package", "home"]) -> Iterable[Shelved]:
        try:
            paths = sorted(islice(folder.glob("*.npz"), MOST_FILES))
        except OSError:
            return
        for path in paths:
            try:
                status = path.stat()
                version = self._version(path, status)
            except (ConfigurationError, OSError) as error:
                _log.warning("models.unusable_file", path=str(path), error=str(error))
                continue
            is_current = origin == "package" and path.name == CURRENT
            yield Shelved(version, path, origin, status.st_size, is_current)

    def _version(self, path: Path, status: os.stat_result) -> str:
        state = (str(path), status.st_size, status.st_mtime_ns)
        version = self._read.get(state)
        if version is None:
            version = self._read[state] = _model(path).version
        return version


def _read(entry: Shelved) -> LinearModel:
    try:
        model = _model(entry.path)
    except (ConfigurationError, OSError) as error:
        raise ProviderUnavailable(f"{entry.path} cannot be read any more: {error}") from error
    if model.version != entry.version:
        raise ProviderUnavailable(
            f"{entry.path} was changed: it holds {model.version} now, not {entry.version}"
        )
    return model


def _model(path: Path) -> LinearModel:
    """Read one file. Raises ConfigurationError for what is no moderation model."""
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ConfigurationError(f"model file {path} is larger than {MOST_BYTES} bytes")
    model = LinearModel.read(data, str(path))
    missing = HEADS.difference(model.heads)
    if missing:
        raise ConfigurationError(f"model file {path} does not judge {', '.join(sorted(missing))}")
    if not _VERSION.fullmatch(model.version):
        raise ConfigurationError(f"model file {path} has a name that cannot be a version")
    return model
