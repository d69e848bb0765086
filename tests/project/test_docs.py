"""What the pages say is so: references are complete, snippets run, links lead somewhere."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from penstock.cli import root as command_line
from penstock.services.moderation.policy import Judge, Policy, load_policy, read_policy
from penstock.settings import Settings, names_of

REFERENCE = Path("docs") / "reference"
LIMITS = {"README.md": 150, "ARCHITECTURE.md": 200}
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
POLICY = set(Policy.__struct_fields__)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?P<target>[^)\s]+)\)")
NAMED = re.compile(
    r"`((?:src|docs|tests|examples|benchmarks|training|clients|requirements)/[\w./-]+?)/?`"
)
HERE = Path(__file__).parents[2]
SNIPPETS = sorted(
    path
    for path in [HERE / "README.md", *(HERE / "docs").rglob("*.md")]
    if "```python\n" in path.read_text("utf-8")
)


def test_generated_pages_are_current(generate: ModuleType) -> None:
    stale = [str(path) for path, text in generate.pages() if generate.differs(path, text)]

    assert not stale, "run `make docs`"


def test_every_name_of_a_setting_is_in_the_reference(root: Path) -> None:
    page = (root / REFERENCE / "settings.md").read_text("utf-8")

    names = [name for field in Settings.model_fields.values() for name in names_of(field)]

    assert names
    assert not [name for name in names if f"`{name}`" not in page]


def test_every_setting_has_a_description_and_a_name_of_its_own() -> None:
    fields = Settings.model_fields.values()
    names = [name for field in fields for name in names_of(field)]

    assert all(field.description for field in fields)
    assert len(names) == len(set(names))


def test_every_recorded_metric_has_a_meaning(generate: ModuleType, root: Path) -> None:
    meanings = tomllib.loads((root / REFERENCE / "metrics.toml").read_text("utf-8"))

    assert set(generate.recorded_metrics()) == set(meanings)


def test_kinds_and_labels_are_those_of_the_source(generate: ModuleType, root: Path) -> None:
    meanings = tomllib.loads((root / REFERENCE / "metrics.toml").read_text("utf-8"))

    for name, seen in generate.recorded_metrics().items():
        told = meanings.get(name, {})
        assert seen["kinds"] <= {told.get("kind")}, name
        assert seen["labels"] <= set(told.get("labels", [])), name


def test_every_command_is_in_the_reference(generate: ModuleType, root: Path) -> None:
    page = (root / REFERENCE / "cli.md").read_text("utf-8")

    words = [" ".join(words) for words, _ in generate.commands(command_line, ("penstock",))]

    assert len(words) > 5
    assert not [name for name in words if f"\n## {name}\n" not in page]


@pytest.mark.parametrize("page", SNIPPETS, ids=lambda page: str(page.relative_to(HERE)))
def test_the_python_of_a_page_runs(page: Path, python: Any) -> None:
    """Blocks marked ```python run in their order; those marked otherwise need a server."""
    blocks = [
        found["code"]
        for found in FENCE.finditer(page.read_text("utf-8"))
        if found["kind"] == "python"
    ]

    done = python("-c", "\n".join(blocks))

    assert done.returncode == 0, done.stderr


def test_the_python_that_needs_a_server_is_python(pages: list[Path]) -> None:
    for page in pages:
        for found in FENCE.finditer(page.read_text("utf-8")):
            if found["kind"].startswith("python "):
                compile(found["code"], str(page), "exec")


def anchors(page: Path) -> set[str]:
    """Where a heading can be jumped to, as Markdown renderers name it."""
    text = FENCE.sub("", page.read_text("utf-8"))
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_between_files_resolve(pages: list[Path]) -> None:
    broken = []
    for page in pages:
        for found in LINK.finditer(FENCE.sub("", page.read_text("utf-8"))):
            target, _, anchor = found["target"].partition("#")
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            place = (page.parent / target).resolve() if target else page
            if not place.exists() or (anchor and anchor not in anchors(place)):
                broken.append(f"{page.name}: {found['target']}")

    assert not broken


def test_files_that_pages_name_exist(pages: list[Path], root: Path) -> None:
    missing = {
        f"{page.name}: {name}"
        for page in pages
        for name in NAMED.findall(page.read_text("utf-8"))
        if "*" not in name and not (root / name).exists()
    }

    assert not missing


def test_the_measured_table_says_what_was_not_met(generate: ModuleType, tmp_path: Path) -> None:
    ratios = {
        "ours / theirs": {"median": 0.91, "min": 0.9, "max": 1.1, "target": "<= 1", "ok": True},
        "calls": {"median": 3.0, "min": 3.0, "max": 3.0, "target": "<= 1", "ok": False},
    }
    report = {"claim": "Quick | cheap", "rows": [], "ratios": ratios}
    (tmp_path / "startup.json").write_text(json.dumps(report))

    row = generate.benchmark_table(tmp_path).splitlines()[-1]

    assert row == (
        r"| Quick \| cheap | ours / theirs<br>calls | 0.91 (0.9..1.1)<br>3 (3..3) "
        "| <= 1<br><= 1 (not met) | [startup](benchmarks/startup.py) |"
    )


@pytest.mark.parametrize(("name", "most"), LIMITS.items())
def test_a_page_to_start_from_stays_short(name: str, most: int, root: Path) -> None:
    assert len((root / name).read_text("utf-8").splitlines()) < most


def test_the_map_has_every_package(root: Path) -> None:
    text = (root / "ARCHITECTURE.md").read_text("utf-8")
    bold = {name for names in re.findall(r"\*\*([\w, ]+)\*\*", text) for name in names.split(", ")}
    source = root / "src" / "penstock"
    modules = {path.stem for path in source.glob("*.py")} - {"__init__", "__main__"}
    packages = {path.parent.name for path in source.glob("*/__init__.py")}

    assert packages | modules <= bold


def test_decisions_stay_short_and_are_listed(root: Path) -> None:
    folder = root / "docs" / "adr"
    listed = (folder / "README.md").read_text("utf-8")

    for page in folder.glob("0*.md"):
        assert len(page.read_text("utf-8").splitlines()) < 40, page.name
        assert page.name in listed


def test_the_changelog_begins_with_what_is_unreleased(root: Path) -> None:
    heads = re.findall(r"^## (.+)$", (root / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert heads[0] == "Unreleased"


def test_every_variable_that_pages_name_is_a_setting(pages: list[Path]) -> None:
    known = {name for field in Settings.model_fields.values() for name in names_of(field)}
    named = {
        name
        for page in pages
        for name in re.findall(r"\bPENSTOCK_[A-Z_]+\b", page.read_text("utf-8"))
    }

    assert (
        named - {"PENSTOCK_COMPLETE", "PENSTOCK_COPY_TO", "PENSTOCK_URL", "PENSTOCK_KEY"} <= known
    )


def test_every_command_that_pages_name_exists(generate: ModuleType, pages: list[Path]) -> None:
    known = {" ".join(words) for words, _ in generate.commands(command_line, ("penstock",))}
    groups = {words.rpartition(" ")[0] for words in known}
    named = {
        name
        for page in pages
        for name in re.findall(
            r"(?:^|`)(penstock (?:[a-z][a-z-]* ?){1,2})", page.read_text("utf-8"), re.M
        )
    }

    unknown = [
        name
        for name in map(str.strip, named)
        if name not in known and name.rpartition(" ")[0] not in known - groups
    ]

    assert not unknown


def test_every_route_that_pages_name_exists(pages: list[Path], document: dict[str, Any]) -> None:
    known = {f"{m.upper()} {path}" for path, ms in document["paths"].items() for m in ms}
    route = re.compile(r"`((?:GET|POST|DELETE) /[^\s`]+)`")

    named = {name for page in pages for name in route.findall(page.read_text("utf-8"))}

    assert named <= known


def test_every_policy_of_a_how_to_can_hold(root: Path, tmp_path: Path) -> None:
    """Read as a file of the settings, and as a draft if it names categories."""
    blocks = [
        (page.name, found["code"])
        for page in (root / "docs" / "howto").glob("*.md")
        for found in FENCE.finditer(page.read_text("utf-8"))
        if found["kind"] == "toml" and set(tomllib.loads(found["code"])) <= POLICY
    ]

    for name, block in blocks:
        (tmp_path / name).write_text(block, "utf-8")
        assert Judge(load_policy(tmp_path / name)).version
        if "thresholds" in (document := tomllib.loads(block)):
            assert Judge(read_policy(document)).policy.thresholds
    assert "policy.md" in dict(blocks)


def test_every_make_target_that_pages_name_exists(pages: list[Path], root: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        name for page in pages for name in re.findall(r"`make ([a-z-]+)", page.read_text("utf-8"))
    }

    assert named <= targets
