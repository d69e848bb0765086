"""Nothing in the repository names a package host or a place on somebody's machine."""

from __future__ import annotations

import json
import re
from pathlib import Path

HOSTS = re.compile(
    r"pythonhosted\.|pypi\.org|npmjs\.|yarnpkg\.|registry\.[a-z]|artifactory|/simple/?[\"'\s]"
    r"|--(?:extra-)?index-url|--find-links",
    re.IGNORECASE,
)
MACHINE = re.compile(r"(?<![\w.])/(?:work|home|root|Users|mnt|workspace)/\w")
BINARY = {".npz", ".png", ".ico", ".gz"}
HERE = Path(__file__).name


def text_files(files: list[Path]) -> dict[Path, str]:
    read = (path for path in files if path.suffix not in BINARY and path.name != HERE)
    return {path: path.read_text("utf-8") for path in read}


def test_no_file_names_a_package_host(files: list[Path]) -> None:
    told = {str(path) for path, text in text_files(files).items() if HOSTS.search(text)}

    assert not told


def test_no_file_names_a_place_on_a_machine(files: list[Path]) -> None:
    told = {str(path) for path, text in text_files(files).items() if MACHINE.search(text)}

    assert not told


def test_every_requirement_is_locked_by_hash(root: Path) -> None:
    locks = [root / "requirements.txt", *(root / "requirements").glob("*.lock")]

    for lock in locks:
        text = lock.read_text("utf-8").replace("\\\n", " ")
        pinned = [line for line in text.splitlines() if line.strip() and line[0] != "#"]
        assert pinned
        assert all("==" in line and "--hash=sha256:" in line for line in pinned), lock


def npm_locks(files: list[Path]) -> list[Path]:
    return [path for path in files if path.name == "package-lock.json"]


def test_npm_locks_record_no_address(files: list[Path]) -> None:
    resolved = [
        (path, name)
        for path in npm_locks(files)
        for name, entry in json.loads(path.read_text("utf-8"))["packages"].items()
        if "resolved" in entry
    ]

    assert npm_locks(files)
    assert not resolved


def test_npm_locks_hold_every_optional_dependency(files: list[Path]) -> None:
    """npm leaves those of other platforms out when it updates a lock beside node_modules."""
    missing = [
        (path, wanted)
        for path in npm_locks(files)
        for packages in [json.loads(path.read_text("utf-8"))["packages"]]
        for entry in packages.values()
        for wanted in entry.get("optionalDependencies", {})
        if not any(name.endswith(f"node_modules/{wanted}") for name in packages)
    ]

    assert not missing
