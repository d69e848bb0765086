from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from penstock.models.linear import LinearModel

Run = Callable[..., Result]
RunJson = Callable[..., Any]

OLDER = "penstock-moderation-1+06589f2a"
INSULT = "You are a stupid idiot. Have a nice day."
PEOPLE = ("idiot", "friend", "loser", "neighbour", "coward", "teacher", "liar", "doctor")
TAILS = ("today", "and everyone knows", "as always", "I think", "they say", "no doubt", "really")
HEADS = ("You are a", "He is a", "What a", "She was never a", "Nobody is such a", "Meet my")


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """Scores that somebody logged: a known mapping of ours, rounded as a log has them."""
    model = LinearModel.load()
    path = tmp_path / "scores.csv"
    texts = [f"{head} {name}, {tail}." for head in HEADS for name in PEOPLE for tail in TAILS]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "comment_text", "INSULT", "perspective_threat", "FLIRTATION"])
        for number, text in enumerate(texts):
            insult = round(0.1 + 0.8 * model.scores(text)["abuse"], 3)
            writer.writerow([number, text, insult, "" if number > 20 else 0.1, 0.5])
        writer.writerow([-1, "Ich habe heute leider keine Zeit.", 0.5, 0.5, 0.5])
        writer.writerow([-2, "", 0.5, 0.5, 0.5])
    return path


def test_a_text_is_scored(run: Run, run_json: RunJson) -> None:
    shown = run("perspective", "analyze", INSULT)
    found = run_json("perspective", "analyze", INSULT, "--spans", "--attribute", "toxicity")

    assert "TOXICITY" in shown.output
    assert "language en" in shown.output
    assert found["scores"]["TOXICITY"] > 0.9
    assert [span["scores"]["TOXICITY"] > 0.5 for span in found["spans"]] == [True, False]


def test_an_unknown_attribute_is_refused(run: Run) -> None:
    result = run("perspective", "analyze", INSULT, "--attribute", "NICENESS")

    assert result.exit_code == 2
    assert "NICENESS is not served" in result.output


def test_logged_scores_become_a_curve_that_acts(run_json: RunJson, logged: Path) -> None:
    before = run_json("perspective", "analyze", INSULT)["scores"]["INSULT"]

    report = run_json("perspective", "calibrate", str(logged))
    after = run_json("perspective", "analyze", INSULT)
    (curve,) = run_json("perspective", "curves")

    assert (
        report["fits"]["INSULT"]["mean_error"]
        < 0.03
        < report["fits"]["INSULT"]["mean_error_before"]
    )
    assert report["refused"] == {"THREAT": "21 usable rows; at least 50 are needed"}
    assert report["skipped"]["a text that is not English"] == 1
    assert report["skipped"]["no text"] == 1
    assert report["ignored_columns"] == ["id", "FLIRTATION"]
    assert after["scores"]["INSULT"] == pytest.approx(0.1 + 0.8 * before, abs=0.03)
    assert after["calibrated"] == ["INSULT"]
    assert (curve["attribute"], curve["model_version"]) == ("INSULT", report["model_version"])


def test_a_report_for_people_says_what_was_left_out(run: Run, logged: Path) -> None:
    result = run("perspective", "calibrate", str(logged), "--dry-run")

    assert result.exit_code == 0, result.output
    assert "no curve for THREAT: 21 usable rows" in result.output
    assert "left out 1: a text that is not English" in result.output
    assert "nothing saved" in result.output
    assert "INSULT" not in run("perspective", "curves").output


def test_too_little_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("text,TOXICITY\n" + "hello there,0.1\nyou idiot,0.9\n" * 20, "utf-8")

    result = run("perspective", "calibrate", str(path))

    assert result.exit_code == 2
    assert "40 usable rows; at least 50 are needed" in result.output


def test_a_file_without_texts_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("name,TOXICITY\nx,0.1\n", "utf-8")

    result = run("perspective", "calibrate", str(path))

    assert result.exit_code == 2
    assert "--text-column" in result.output


def test_curves_are_forgotten(run: Run, run_json: RunJson, logged: Path) -> None:
    run("perspective", "calibrate", str(logged))

    gone = run_json("perspective", "forget", "--attribute", "insult", "--yes")

    assert gone == {"deleted": 1}
    assert run_json("perspective", "analyze", INSULT)["calibrated"] == []
    assert run("perspective", "forget", "--yes").exit_code == 1


def test_another_version_is_pinned(run: Run, run_json: RunJson) -> None:
    before = run_json("perspective", "analyze", INSULT)["model_version"]

    run("perspective", "use", OLDER)
    listed = {each["version"]: each["pinned"] for each in run_json("perspective", "models")}

    assert listed == {before: False, OLDER: True}
    assert run_json("perspective", "analyze", INSULT)["model_version"] == OLDER
    assert run_json("perspective", "analyze", INSULT, "--model", before)["model_version"] == before


def test_whoever_pins_another_version_hears_which_curves_are_left_behind(
    run: Run, run_json: RunJson, logged: Path
) -> None:
    before = run_json("perspective", "calibrate", str(logged))["model_version"]

    left = run("perspective", "use", OLDER)
    again = run("perspective", "use", before)

    assert f"curves of {before} no longer apply: INSULT; calibrate again" in left.stderr
    assert "its curves apply: INSULT" in again.stdout
    assert "no longer" not in again.stderr


def test_an_unknown_version_is_not_pinned(run: Run) -> None:
    result = run("perspective", "use", "gpt-9")

    assert result.exit_code == 2
    assert f"known: penstock-moderation-1+0451dbd5, {OLDER}" in result.output


def test_suggestions_are_printed_one_a_line(run: Run) -> None:
    result = run("perspective", "suggestions")

    assert result.exit_code == 0
    assert [json.loads(line) for line in result.output.splitlines()] == []
