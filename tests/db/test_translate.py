from __future__ import annotations

import pytest

from penstock.db.translate import translate


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ?, ? WHERE x = ?", "SELECT $1, $2 WHERE x = $3"),
        ("WHERE a = :a AND b = :b OR c = :a", "WHERE a = $1 AND b = $2 OR c = $1"),
        ("SELECT '? :a ''still'' ?', ?", "SELECT '? :a ''still'' ?', $1"),
        ('SELECT "a?b:c" = ?', 'SELECT "a?b:c" = $1'),
        ("SELECT ? -- why? :a\n, ?", "SELECT $1 -- why? :a\n, $2"),
        ("SELECT ? /* why? :a\n */, ?", "SELECT $1 /* why? :a\n */, $2"),
        ("SELECT :a::bigint, x::text", "SELECT $1::bigint, x::text"),
        ("DO $$ BEGIN a := '?'; END $$", "DO $$ BEGIN a := '?'; END $$"),
        ("DO $x$ ? $$ ? $x$ ?", "DO $x$ ? $$ ? $x$ $1"),
        ("WHERE changes() = :n", "WHERE CAST($1 AS BIGINT) = $2"),
        ("SELECT 'unfinished ?", "SELECT 'unfinished $1"),
    ],
)
def test_parameters_become_numbers_and_the_rest_stays(sql: str, expected: str) -> None:
    assert translate(sql).sql == expected


def test_values_are_put_in_their_places() -> None:
    assert translate("? changes() ?").bind(("a", "b"), 7) == ["a", 7, "b"]
    assert translate(":b changes() :a :b").bind({"a": 1, "b": 2, "more": 3}, 7) == [2, 7, 1]
    assert translate("nothing").bind(None) == []
    assert translate("nothing").bind(()) == []


def test_a_text_with_nul_gets_a_stand_in() -> None:
    assert translate("?, ?").bind(["a\0b", b"a\0b"]) == ["a␀b", b"a\0b"]


@pytest.mark.parametrize("params", [(), ("a", "b"), None])
def test_too_few_or_too_many_values_are_refused(params: tuple[str, ...] | None) -> None:
    with pytest.raises(ValueError, match="takes 1 parameters, "):
        translate("SELECT ?").bind(params)
