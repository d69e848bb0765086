from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A policy that rejects nearly everything."""
    path = tmp_path / "forum.toml"
    path.write_text(
        "[thresholds.harassment]\nreview = 0.0\nreject = 0.0\n"
        '[thresholds."pii/phone"]\nreview = 0.5\nreject = "never"\n'
    )
    return path


def test_a_policy_is_drafted_tried_activated_and_rolled_back(run, run_json, file: Path) -> None:
    run("moderate", "please pass the salt")

    made = run_json("policy", "draft", str(file), "--id", "default", "--note", "strict")
    tried = run_json("policy", "dry-run", "default")
    held = run_json("policy", "activate", "default", "1", "--expected", "0")
    during = json.loads(run("moderate", "please pass the salt", "--json").stdout)
    undone = run_json("policy", "rollback", "default")

    assert (made["revision"], made["created_by"]) == (1, "cli")
    assert made["policy"]["thresholds"]["pii/phone"] == {
        "review": 0.5,
        "flag": None,  # the default of personal data
        "reject": None,
    }
    assert (tried["examined"], tried["changed"], tried["model_calls"]) == (1, 1, 0)
    assert (held["active"], undone["active"]) == (1, 0)
    assert "rejected" in json.dumps(during)


def test_what_is_printed_is_for_people(run, file: Path) -> None:
    run("moderate", "please pass the salt")
    drafted = run("policy", "draft", str(file))
    run("policy", "activate", "forum", "1")

    listed = run("policy", "list")
    shown = run("policy", "show", "forum")
    tried = run("policy", "dry-run", "forum", "--against", "recorded", "--since", "1d")
    suggested = run("policy", "suggest", "default", "--reviews-per-day", "5", "--draft")

    assert drafted.output.startswith("revision 1 of forum (forum-")
    assert "penstock policy dry-run forum --revision 1" in drafted.output
    assert [line.split()[0] for line in listed.output.splitlines()] == ["id", "default", "forum"]
    assert "never" in shown.output
    assert "1 of 1 recorded verdicts would change (0 model calls" in tried.output
    assert "harassment beyond the reject threshold" in tried.output
    assert "written as revision 1 of default" in suggested.output


def test_a_draft_that_never_held_is_shown_and_said_to_hold_for_nobody(run, run_json, file) -> None:
    run("policy", "draft", str(file))

    shown = run("policy", "show", "forum")
    as_json = run_json("policy", "show", "forum")
    run("policy", "activate", "forum", "1")
    after = run("policy", "show", "forum")

    assert "no revision holds yet; this is revision 1, which decides for nobody" in shown.output
    assert "penstock policy activate forum 1" in shown.output
    assert "pii/phone" in shown.output
    assert (as_json["active"], as_json["policy"]) == (None, None)
    assert "no revision holds yet" not in after.output


def test_a_policy_under_which_nobody_reads_is_activated_with_a_note(run, tmp_path: Path) -> None:
    path = tmp_path / "blind.toml"
    path.write_text('id = "default"\nstages = ["provider"]\n[thresholds.hate]\n')
    run("policy", "draft", str(path))

    activated = run("policy", "activate", "default", "1")
    shown = run("policy", "show", "default")

    for result in (activated, shown):
        assert result.exit_code == 0
        assert "note: only the provider would read and none is configured" in result.output


def test_a_key_is_given_a_policy_and_loses_it(run, run_json, file: Path) -> None:
    key = run_json("token", "create", "--name", "app")["id"]
    run("policy", "draft", str(file))
    run("policy", "activate", "forum", "1")

    assigned = run("policy", "assign", "forum", key)
    shown = run_json("policy", "show", "forum")
    run("policy", "unassign", "forum", key)

    assert assigned.output == f"forum decides for {key}\n"
    assert shown["keys"] == [key]
    assert run_json("policy", "show", "forum")["keys"] == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[thresholds.hatred]\n", "no category is called 'hatred'"),
        ("[thresholds.hate]\nreview = 2\n", "/thresholds/hate/review"),
        ("colour = 1\n[thresholds.hate]\n", "colour"),
        ("not toml", "cannot be read"),
        ("", "names no category"),
    ],
)
def test_a_file_that_is_no_policy_is_named_with_the_place(
    run, tmp_path: Path, content: str, told: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(content)

    result = run("policy", "draft", str(path))

    assert result.exit_code == 2
    assert "bad.toml" in result.output
    assert told in result.output


def test_what_does_not_fit_is_told_in_one_line(run, file: Path) -> None:
    run("policy", "draft", str(file))

    unknown = run("policy", "show", "none")
    late = run("policy", "activate", "forum", "1", "--expected", "7")
    nothing = run("policy", "rollback", "default")
    stranger = run("policy", "assign", "default", "key_none")

    for result, words in (
        (unknown, "there is no policy 'none'"),
        (late, "no revision is active now"),
        (nothing, "no other revision"),
        (stranger, "there is no key 'key_none'"),
    ):
        assert result.exit_code == 1
        assert words in result.output
