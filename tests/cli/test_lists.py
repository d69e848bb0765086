"""`penstock lists` on a data folder."""

from __future__ import annotations

import json
from pathlib import Path


def test_a_list_goes_through_its_life(run, run_json):
    made = run_json("lists", "create", "words", "--kind", "block")
    run_json("lists", "add", "words", "badword", "worse", "--note", "rude")
    run_json("lists", "add", made["id"], "bad*", "--kind", "wildcard")

    listed = run_json("lists", "list")
    found = run_json("lists", "test", "a b4dword")
    table = run("lists", "test", "a badword").stdout
    removed = run("lists", "remove", "words", "badword")
    missing = run("lists", "remove", "words", "badword")
    left = run_json("lists", "entries", "words")
    deleted = run("lists", "delete", "words", "--yes")

    assert [(each["name"], each["entries"]) for each in listed] == [("words", 3)]
    assert found["decision"] == "rejected"
    assert "2-9" in table
    assert removed.exit_code == 0
    assert "has no phrase 'badword'" in missing.stderr
    assert [entry["value"] for entry in left] == ["worse", "bad*"]
    assert deleted.stdout == "deleted words\n"
    assert "no list yet" in run("lists", "list").stdout


def test_a_file_comes_in_and_goes_out(run, run_json, tmp_path: Path):
    file = tmp_path / "words.csv"
    file.write_text("kind,value,note\nphrase,one,\nregex,\\d+,digits\n")
    run_json("lists", "create", "words", "--kind", "review")

    taken = run("lists", "import", "words", str(file))
    again = run_json("lists", "import", "words", str(file))
    out = run("lists", "export", "words")
    lines = run("lists", "export", "words", "--format", "text")

    assert taken.stdout == "2 taken, 0 skipped, 0 refused\n"
    assert again["skipped"] == 2
    assert out.stdout == file.read_text()
    assert lines.stdout == "one\n"


def test_a_faulty_file_is_refused_with_its_lines(run, run_json):
    run_json("lists", "create", "words", "--kind", "block")
    arguments = ("lists", "import", "words", "-", "--kind", "regex")

    refused = run(*arguments, stdin="a+\n(\n")
    partly = run(*arguments, "--partial", "--json", stdin="a+\n(\n")

    assert refused.exit_code != 0
    assert "line 2: value cannot be used: missing )" in refused.stderr
    assert json.loads(partly.stdout)["taken"] == 1
    assert partly.exit_code == 1


def test_a_faulty_value_is_named(run, run_json):
    run_json("lists", "create", "words", "--kind", "block")

    refused = run("lists", "add", "words", "a+", "(", "--kind", "regex")

    assert "value 2: value cannot be used: missing )" in refused.stderr
    assert refused.exit_code != 0


def test_a_name_that_means_no_list_or_several_is_refused(run, run_json):
    for _ in range(2):
        run_json("lists", "create", "words", "--kind", "block")

    assert "2 lists are called 'words'" in run("lists", "add", "words", "a1").stderr
    assert "there is no list 'other'" in run("lists", "add", "other", "a1").stderr


def test_deleting_asks(run, run_json):
    run_json("lists", "create", "words", "--kind", "block")

    kept = run("lists", "delete", "words", stdin="n\n")

    assert kept.exit_code != 0
    assert len(run_json("lists", "list")) == 1
