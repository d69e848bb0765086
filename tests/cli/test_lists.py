"""`penstock lists` on a data folder."""

from __future__ import annotations

import json
import random
from pathlib import Path

from PIL import Image


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
    first = run_json("lists", "create", "words", "--kind", "block")
    second = run_json("lists", "create", "words", "--kind", "block", "--key", "env")

    several = run("lists", "add", "words", "a1").stderr

    assert "2 lists are called 'words'" in several
    assert f"{first['id']}  for everyone" in several
    assert f"{second['id']}  for the key env" in several
    assert "there is no list 'other'" in run("lists", "add", "other", "a1").stderr
    assert first["id"] in run("lists", "create", "words", "--kind", "allow").stderr


def test_a_key_that_there_is_not_is_refused(run):
    made = run("lists", "create", "words", "--kind", "block", "--key", "key_nope")
    tried = run("lists", "test", "a text", "--key", "key_nope")

    assert "key_nope" in made.stderr
    assert "key_nope" in tried.stderr
    assert made.exit_code != 0
    assert tried.exit_code != 0


def test_csv_from_a_pipe_is_known_by_its_first_line(run, run_json):
    run_json("lists", "create", "words", "--kind", "block")

    taken = run("lists", "import", "words", "-", stdin="kind,value,note\nregex,\\d+,\n")
    text = run("lists", "import", "words", "-", stdin="kind words\n")
    entries = run_json("lists", "entries", "words")

    assert taken.stdout == text.stdout == "1 taken, 0 skipped, 0 refused\n"
    assert [(each["kind"], each["value"]) for each in entries] == [
        ("regex", "\\d+"),
        ("phrase", "kind words"),
    ]
    assert entries[0]["created_at"].endswith("Z")


def test_a_picture_is_listed_by_its_looks(run, run_json, tmp_path: Path):
    run_json("lists", "create", "pictures", "--kind", "block")
    shown = Image.frombytes("L", (8, 8), random.Random(1).randbytes(64))
    shown.resize((128, 128), Image.Resampling.BICUBIC).save(tmp_path / "shown.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "plain.png")
    (tmp_path / "none.png").write_bytes(b"none")

    run_json("lists", "add", "pictures", "--image", str(tmp_path / "shown.png"))
    run_json("lists", "add", "pictures", "--image", str(tmp_path / "plain.png"))
    refused = run("lists", "add", "pictures", "--image", str(tmp_path / "none.png"))
    nothing = run("lists", "add", "pictures")

    assert [each["kind"] for each in run_json("lists", "entries", "pictures")] == ["pdq", "sha256"]
    assert "not those of an image" in refused.stderr
    assert "--image" in nothing.stderr


def test_deleting_asks(run, run_json):
    run_json("lists", "create", "words", "--kind", "block")

    kept = run("lists", "delete", "words", stdin="n\n")

    assert kept.exit_code != 0
    assert len(run_json("lists", "list")) == 1
