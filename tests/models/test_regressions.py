from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training import evaluate


@pytest.fixture
def overturned(tmp_path: Path) -> Path:
    """Three that people decided on, one of them known by its hash only."""

    def line(id: str, content: str | None, was: str, decision: str) -> str:
        facts: dict[str, Any] = {"id": id, "content": content, "category": "harassment"}
        return json.dumps({**facts, "content_hash": "0", "was": was, "decision": decision})

    path = tmp_path / "examples.jsonl"
    lines = [
        line("ex_right", "the weather is lovely today", "rejected", "approved"),
        line("ex_wrong", "you are a stupid idiot and a worthless loser", "rejected", "approved"),
        line("ex_hash", None, "rejected", "approved"),
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_regressions_are_replayed(overturned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--regressions", str(overturned)]) == 0

    told = capsys.readouterr().out
    assert "3 overturned verdicts, 2 with their text" in told
    assert "1 of 2 now come out as people decided" in told
    assert "Still wrong: ex_wrong (approved, comes out as rejected)." in told


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"id": "x"}\n', "utf-8")

    with pytest.raises(SystemExit, match="line 1: not a line of `penstock cases examples`"):
        evaluate.main(["--regressions", str(path)])


def test_without_anything_to_measure_on_it_says_what_to_give(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        evaluate.main([])

    assert "REGRESSIONS=file.jsonl" in capsys.readouterr().err
