from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import pytest

from penstock.errors import InvalidInput, ProviderUnavailable
from penstock.models.linear import LinearModel
from penstock.models.shelf import MOST_LOADED, PIN, Shelf
from training import quantise

SHIPPED = Path(str(resources.files("penstock.models"))) / "data"
OLDER = "penstock-moderation-1+06589f2a"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def shelf(folder: Path) -> Shelf:
    return Shelf(folder)


@pytest.fixture
def grow(folder: Path) -> Callable[[str], str]:
    """Puts another version into the folder and returns its name."""

    def make(name: str) -> str:
        import json

        import numpy as np

        with np.load(SHIPPED / "moderation.npz") as archive:
            arrays = {key: archive[key] for key in archive.files}
        meta = {**json.loads(arrays.pop("meta").tobytes()), "name": name}
        path = folder / f"{name}.npz"
        quantise.write(path, arrays, meta)
        return f"{name}+{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"

    return make


def test_the_package_ships_its_version_and_an_older_one(shelf: Shelf) -> None:
    versions = shelf.versions()

    assert [entry.version for entry in versions] == [LinearModel.load().version, OLDER]
    assert [entry.is_current for entry in versions] == [True, False]
    assert {entry.origin for entry in versions} == {"package"}


def test_every_older_file_is_named_after_its_version(shelf: Shelf) -> None:
    named = {entry.path.name for entry in shelf.versions() if not entry.is_current}

    assert named == {f"{entry.version}.npz" for entry in shelf.versions() if not entry.is_current}


def test_versions_answer_side_by_side_and_differ(shelf: Shelf) -> None:
    text = "I want to end my phone contract."

    older, current = shelf.load(OLDER), shelf.load(shelf.current())

    assert older.version == OLDER
    assert older.scores(text)["self_harm"] > 0.7  # what the report of that version says
    assert current.scores(text)["self_harm"] < 0.5


def test_a_file_in_the_folder_is_another_version(shelf: Shelf, grow: Callable[[str], str]) -> None:
    before = shelf.versions()

    version = grow("house-model-2")

    assert [e.version for e in shelf.versions()] == [*(e.version for e in before), version]
    assert shelf.load(version).version == version


def test_a_version_is_loaded_once_however_many_ask(shelf: Shelf) -> None:
    gate = threading.Barrier(8)

    def load(_: int) -> LinearModel:
        gate.wait()
        return shelf.load(OLDER)

    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(load, range(8)))

    assert len({id(model) for model in loaded}) == 1


def test_an_unknown_version_is_refused_with_those_that_are_known(shelf: Shelf) -> None:
    with pytest.raises(InvalidInput, match=r"no model version 'gpt-9' is here; known: penstock-"):
        shelf.load("gpt-9")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 damaged"])
def test_a_file_that_is_no_model_is_left_out(shelf: Shelf, folder: Path, content: bytes) -> None:
    (folder / "junk.npz").write_bytes(content)

    assert [entry.origin for entry in shelf.versions()] == ["package", "package"]


def test_a_file_that_changed_is_not_its_old_version(
    shelf: Shelf, folder: Path, grow: Callable[[str], str]
) -> None:
    version = grow("house-model-2")
    shelf.versions()
    (folder / "house-model-2.npz").write_bytes((SHIPPED / "moderation.npz").read_bytes())

    with pytest.raises(ProviderUnavailable, match="was changed"):
        shelf.load(version)


def test_few_models_stay_in_memory(shelf: Shelf, grow: Callable[[str], str]) -> None:
    versions = [grow(f"house-model-{number}") for number in range(MOST_LOADED + 1)]

    first = shelf.load(versions[0])
    for version in versions[1:]:
        shelf.load(version)

    assert shelf.load(versions[0]) is not first


def test_the_first_question_settles_who_answers(shelf: Shelf, folder: Path) -> None:
    version = shelf.pinned()

    assert version == shelf.current()
    assert (folder / PIN).read_text().strip() == version


def test_an_upgrade_does_not_move_the_pin(folder: Path) -> None:
    (folder / PIN).write_text(f"{OLDER}\n")

    assert Shelf(folder).pinned() == OLDER


def test_a_pin_is_moved_by_hand(shelf: Shelf) -> None:
    shelf.pin(OLDER)

    assert shelf.pinned() == OLDER
    with pytest.raises(InvalidInput):
        shelf.pin("gpt-9")
    assert shelf.pinned() == OLDER


def test_a_pinned_version_that_is_gone_is_no_other_version(shelf: Shelf, folder: Path) -> None:
    (folder / PIN).write_text("gone+00000000\n")

    with pytest.raises(ProviderUnavailable, match="penstock perspective use"):
        shelf.pinned()


def test_a_folder_that_is_not_there_is_made_at_the_first_question(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "home" / "models")

    assert len(shelf.versions()) == 2
    assert not (tmp_path / "home").exists()
    shelf.pinned()
    assert (tmp_path / "home" / "models" / PIN).is_file()


def test_a_copy_of_a_shipped_file_is_the_same_version(shelf: Shelf, folder: Path) -> None:
    shutil.copy(SHIPPED / "moderation.npz", folder / "copy.npz")

    assert len(shelf.versions()) == 2
