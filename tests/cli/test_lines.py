from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest

from penstock.cli import lines
from penstock.cli.lines import AT_ONCE, Line


def test_blank_lines_are_left_out_and_numbers_stay_those_of_the_file():
    found = list(lines.read(io.BytesIO(b"\xef\xbb\xbfone\r\n\n  \nfour")))

    assert found == [Line(1, "one"), Line(4, "four")]


def test_a_line_too_long_is_skipped_whole():
    long = b"x" * (3 * lines.LONGEST)

    found = list(lines.read(io.BytesIO(long + b"\nnext\n")))

    assert [line.number for line in found] == [1, 2]
    assert found[0].fault.startswith("is longer than")
    assert found[1].text == "next"


def test_a_line_of_just_the_longest_length_is_taken():
    (line,) = lines.read(io.BytesIO(b"x" * lines.LONGEST + b"\n"))

    assert len(line.text) == lines.LONGEST


def test_parts_hold_all_lines_in_order():
    numbered = (Line(number, "") for number in range(AT_ONCE + 1))

    assert [len(part) for part in lines.parts(numbered)] == [AT_ONCE, 1]


@pytest.mark.slow
def test_a_terminal_sees_a_bar_and_the_output_stays_clean(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("Have a lovely day.\n" * 3, "utf-8")
    ours, theirs = pty.openpty()

    done = subprocess.run(
        [sys.executable, "-m", "penstock", "moderate", "--file", str(path)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        check=False,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    seen = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        [str(number), "approved"] for number in (1, 2, 3)
    ]
    assert "moderate" in seen
    assert "\x1b[2K" in seen  # and is gone at the end
