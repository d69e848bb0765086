from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.services.moderation.logged_scores import LoggedScores


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def test_columns_are_found_by_name() -> None:
    logged = LoggedScores(
        lines("id,Comment,TOXICITY,perspective_insult,threat score,x\n1,hi,0.1,0.2,0.3,y\n")
    )

    assert [(row.text, row.scores) for row in logged] == [
        ("hi", {"TOXICITY": 0.1, "INSULT": 0.2, "THREAT": 0.3})
    ]
    assert logged.ignored == ["id", "x"]


@pytest.mark.parametrize("delimiter", ["\t", ";"])
def test_other_delimiters_are_seen(delimiter: str) -> None:
    text = f"\ufefftext{delimiter}TOXICITY\nhi, you{delimiter}0.5\n"

    assert [row.text for row in LoggedScores(lines(text))] == ["hi, you"]


def test_a_quoted_text_may_hold_commas_and_lines() -> None:
    logged = LoggedScores(lines('text,TOXICITY\n"one, ""two""\nthree",0.5\n'))

    assert [row.text for row in logged] == ['one, "two"\nthree']


def test_what_cannot_be_used_is_counted_by_its_reason() -> None:
    rows = ["good,0.1", ",0.2", "word,high", "word,1.5", "word", f"{'x' * 20_481},0.1", "a\x00,0.1"]
    rows += ["\udcff,0.3", f"{'y' * 140_000},0.1", "good,0.9", ""]
    logged = LoggedScores([f"{row}\n" for row in ["text,TOXICITY", *rows]])

    found = [row.scores["TOXICITY"] for row in logged]

    assert found == [0.1, 0.9]
    assert logged.skipped == {
        "no text": 1,
        "no TOXICITY from 0 to 1": 3,
        "a text longer than 20480 bytes": 1,
        "a text with U+0000": 1,
        "a text that is not UTF-8": 1,
        "a row that is no CSV": 1,
    }


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("name,TOXICITY", "no column of texts"),
        ("text,score", "no column is named like an attribute"),
        ("", "no column of texts"),
    ],
)
def test_a_file_without_the_columns_is_refused(header: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        LoggedScores([header])


def test_a_text_column_can_be_named() -> None:
    logged = LoggedScores(lines("text,Body Text,INSULT\na,b,0.5\n"), text_column="body text")

    assert [row.text for row in logged] == ["b"]
    with pytest.raises(InvalidInput, match="no column 'nope'; there are text"):
        LoggedScores(["text,INSULT"], text_column="nope")
