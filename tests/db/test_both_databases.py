"""What holds on SQLite and on PostgreSQL alike: the contract of `penstock.db.database`."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest

from penstock.db import Database, open_database
from penstock.db.dialect import each, least, values_of
from penstock.errors import Conflict, StorageUnavailable
from penstock.observe.metrics import Metrics
from tests.databases import DATABASES, Kind, open_for_test, url_for_test

ADD = "INSERT INTO notes (text) VALUES (?)"


async def texts(database: Database) -> list[str]:
    return [text for (text,) in await database.rows("SELECT text FROM notes ORDER BY id")]


async def test_a_write_is_readable_when_it_returns(either: Database) -> None:
    assert await either.write((ADD, ("kept",))) == 1

    assert await texts(either) == ["kept"]
    assert await either.row("SELECT text FROM notes WHERE text = :text", {"text": "kept"}) == (
        "kept",
    )
    assert await either.row("SELECT text FROM notes WHERE text = ?", ("other",)) is None
    assert await either.scan("SELECT count(*) FROM notes") == [(1,)]


async def test_the_statements_of_one_caller_are_all_or_nothing(either: Database) -> None:
    await either.write((ADD, ("there already",)))

    with pytest.raises(Conflict, match="does not fit"):
        await either.write((ADD, ("first half",)), (ADD, ("there already",)))

    assert await texts(either) == ["there already"]


async def test_a_list_of_parameters_is_written_whole_or_not_at_all(either: Database) -> None:
    assert await either.write((ADD, [("a",), ("b",)])) == 2
    assert await either.write((ADD, [])) == 0
    assert await either.write((f"{ADD} ON CONFLICT DO NOTHING -- again", [("b",), ("c",)])) == 1

    with pytest.raises(Conflict):
        await either.write((ADD, [("d",), ("a",)]))

    assert await texts(either) == ["a", "b", "c"]


async def test_a_failing_caller_fails_alone(either: Database) -> None:
    await either.write((ADD, ("b",)))
    calls = [either.write((ADD, (text,))) for text in ("a", "e", "a", "c")]
    calls.append(either.write((ADD, ("d",)), (ADD, ("b",))))
    calls.append(either.write(("INSERT INTO nowhere VALUES (1)", ())))

    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert sorted(map(str, outcomes[:4]))[:3] == ["1", "1", "1"]
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes[:4]) == 1
    assert isinstance(outcomes[4], Conflict)
    assert "nowhere" in str(outcomes[5])
    assert sorted(await texts(either)) == ["a", "b", "c", "e"]


async def test_a_statement_knows_how_many_rows_the_one_before_it_changed(
    either: Database,
) -> None:
    await either.write((ADD, [("a",), ("b",)]))
    follow = "INSERT INTO notes (text) SELECT :text WHERE changes() = :rows"

    changed = await either.write(
        ("UPDATE notes SET done = true WHERE text IN ('a', 'b')", ()),
        (follow, {"text": "changes() was 2", "rows": 2}),
        (follow, {"text": "and then 1", "rows": 1}),
        (follow, {"text": "not 7", "rows": 7}),
        (follow, {"text": "and then 0", "rows": 0}),
    )

    assert changed == 5
    assert await texts(either) == ["a", "b", "changes() was 2", "and then 1", "and then 0"]


async def test_what_was_read_while_writing_is_still_so_at_the_end(either: Database) -> None:
    """Many take the next number; none is taken twice."""
    take = "INSERT INTO notes (id, text) SELECT coalesce(max(id), 0) + 1, ? FROM notes"

    outcomes = await asyncio.gather(
        *(either.write((take, (f"alone {n}",)), serial=True) for n in range(20)),
        *(
            either.write((take, (f"in two {n}",)), "DELETE FROM notes WHERE id < 0")
            for n in range(20)
        ),
    )

    assert outcomes == [1] * 40
    assert await either.row("SELECT count(*), max(id) FROM notes") == (40, 40)


async def test_a_condition_holds_for_one_of_many(either: Database) -> None:
    only = """
    INSERT INTO notes (text) SELECT :text WHERE NOT EXISTS (SELECT 1 FROM notes WHERE done)
    """
    mark = "UPDATE notes SET done = true WHERE text = :text"

    outcomes = await asyncio.gather(
        *(either.write((only, {"text": str(n)}), (mark, {"text": str(n)})) for n in range(20))
    )

    assert sorted(outcomes) == [0] * 19 + [2]
    assert await either.row("SELECT count(*) FROM notes") == (1,)


async def test_values_come_back_as_they_were(either: Database) -> None:
    await either.write(
        "CREATE TABLE kinds (number BIGINT, share DOUBLE PRECISION, yes BOOLEAN, text TEXT)"
    )
    row = (1 << 60, 0.1, True, "Grüße 🌊")

    await either.write(("INSERT INTO kinds VALUES (?, ?, ?, ?)", row))
    await either.write(("INSERT INTO kinds VALUES (?, ?, ?, ?)", (None,) * 4))

    assert await either.rows("SELECT * FROM kinds WHERE yes") == [row]
    assert await either.rows("SELECT * FROM kinds WHERE yes IS NULL") == [(None,) * 4]


async def test_sums_and_averages_are_plain_numbers(either: Database) -> None:
    await either.write((ADD, [("a",), ("b",)]))

    found = await either.row("SELECT sum(id), avg(id), count(*) FILTER (WHERE done) FROM notes")

    assert found == (3, 1.5, 0)
    assert [type(value) for value in found] == [int, float, int]


async def test_texts_sort_by_their_code_points(either: Database) -> None:
    await either.write(
        "INSERT INTO auth_keys (id, name, owner, role, digest, prefix, created_at)"
        " VALUES ('b', '', '', '', '1', '', 0), ('A', '', '', '', '2', '', 0),"
        " ('a', '', '', '', '3', '', 0), ('Z', '', '', '', '4', '', 0),"
        " ('é', '', '', '', '5', '', 0)"
    )

    found = await either.rows("SELECT id FROM auth_keys ORDER BY created_at, id")
    after = await either.rows("SELECT id FROM auth_keys WHERE (created_at, id) > (?, ?)", (0, "a"))

    assert [id for (id,) in found] == ["A", "Z", "a", "b", "é"]
    assert {id for (id,) in after} == {"b", "é"}


async def test_a_text_with_nul_is_kept_and_found_again(either: Database) -> None:
    await either.write((ADD, ("be\0fore",)))
    await either.bulk("notes", ("text",), [("bul\0k",), ("whole",)])

    for text in ("be\0fore", "bul\0k"):
        found = await either.row("SELECT count(*) FROM notes WHERE text = ?", (text,))
        assert found == (1,)


async def test_pieces_that_the_dialects_write_differently(either: Database) -> None:
    await either.write((ADD, [(text,) for text in "abcd"]))
    of = either.dialect
    listed = f"SELECT id FROM notes WHERE text IN ({values_of(of, ':texts')}) ORDER BY id"
    joined = f"""
    SELECT n.text FROM {each(of, ":ids", "bigint")} AS p JOIN notes AS n ON n.id = p.value
    ORDER BY n.id
    """
    bounded = f"SELECT {least(of, 'id', ':most')} FROM notes ORDER BY id"

    assert await either.rows(listed, {"texts": json.dumps(["d", "b", "x"])}) == [(2,), (4,)]
    assert await either.rows(joined, {"ids": json.dumps([3, 1, 9])}) == [("a",), ("c",)]
    assert await either.rows(bounded, {"most": 2}) == [(1,), (2,), (2,), (2,)]


async def test_many_rows_are_added_at_once_all_or_none(either: Database) -> None:
    rows = [(number, f"text {number}", number % 2 == 0) for number in range(5000)]

    assert await either.bulk("notes", ("id", "text", "done"), iter(rows)) == 5000
    with pytest.raises(Conflict):
        await either.bulk("notes", ("id", "text"), [(9000, "new"), (1, "taken")])

    assert await either.row("SELECT count(*), sum(id) FROM notes WHERE done") == (2500, 6247500)
    assert await either.row("SELECT count(*) FROM notes") == (5000,)
    assert await either.bulk("notes", ("id",), []) == 0


@pytest.mark.parametrize("kind", DATABASES)
async def test_closing_writes_what_waits_and_refuses_what_comes_after(
    kind: Kind, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = url_for_test(kind, request, tmp_path)
    database = open_database(url, folder=tmp_path)
    await database.write("CREATE TABLE notes (text TEXT)")
    waiting = [asyncio.ensure_future(database.write((ADD, (str(n),)))) for n in range(50)]
    await asyncio.sleep(0)
    for number in range(50, 70):
        database.write_later((ADD, (str(number),)))

    await database.aclose()
    await database.aclose()

    assert await asyncio.gather(*waiting) == [1] * 50
    with pytest.raises(StorageUnavailable, match="closed"):
        await database.write((ADD, ("late",)))
    with pytest.raises(StorageUnavailable, match="closed"):
        await database.rows("SELECT 1")
    with pytest.raises(StorageUnavailable, match="closed"):
        database.write_later((ADD, ("late",)))
    async with aclosing(open_database(url, folder=tmp_path)) as again:
        found = await again.rows("SELECT text FROM notes")
    assert sorted(int(text) for (text,) in found) == list(range(70))


async def test_an_unattended_failure_is_logged(
    either: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await either.write((ADD, ("a",)))

    either.write_later((ADD, ("a",)))
    await either.aclose()

    assert "db.unattended_write_failed" in caplog.text


async def test_slow_statements_are_counted_and_logged_without_their_parameters(
    either: Database,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.db.execution.SLOW_SECONDS", 0.0)

    await either.write((ADD, ("a user's words",)))
    await either.rows("SELECT id FROM notes WHERE text = ?", ("a user's words",))

    assert metrics.total("penstock_db_slow_statements_total") >= 2
    assert ADD in caplog.text
    assert "SELECT id FROM notes WHERE text = ?" in caplog.text
    assert "a user's words" not in caplog.text


async def test_a_wrong_statement_is_a_bug_and_told_as_it_is(either: Database) -> None:
    for reading in (either.rows("SELEC 1"), either.scan("SELEC 1"), either.write("SELEC 1")):
        with pytest.raises(Exception, match="syntax error") as caught:
            await reading
        assert not isinstance(caught.value, StorageUnavailable)

    assert await either.row("SELECT 1") == (1,)


async def test_a_wrong_parameter_harms_nobody_else(either: Database) -> None:
    for params in ((), ("a", "b"), {"other": 1}, (object(),), (1 << 70,)):
        with pytest.raises(Exception, match=r"\w") as caught:
            await either.write((ADD, params))
        assert not isinstance(caught.value, StorageUnavailable)

    assert await either.write((ADD, ("fine",))) == 1
    assert await texts(either) == ["fine"]


async def test_the_audit_log_refuses_to_be_changed(either: Database) -> None:
    await either.write(
        (
            "INSERT INTO audit_entries (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
            (1, "a", "b", "c", b"{}"),
        )
    )

    for statement in ("UPDATE audit_entries SET actor = 'x'", "DELETE FROM audit_entries"):
        with pytest.raises(Conflict, match="append-only"):
            await either.write(statement)

    assert await either.row("SELECT actor, detail FROM audit_entries") == ("a", b"{}")


async def test_rows_are_numbered_in_the_order_of_their_coming(either: Database) -> None:
    add = """
    INSERT INTO review_contents (case_id, content_hash, risk, created_at) VALUES (?, 'h', 0, 0)
    """
    for case in "cab":
        await either.write((add, (case,)))

    found = await either.rows("SELECT case_id FROM review_contents ORDER BY rowid")

    assert [case for (case,) in found] == ["c", "a", "b"]


async def test_a_healthy_database_says_so(either: Database) -> None:
    health = await either.health()

    assert health["writable"]
    assert health["detail"] == ""
    assert health["size_bytes"] > 0
    assert 0 < health["latency_seconds"] < 60


@pytest.mark.parametrize("kind", DATABASES)
async def test_a_caller_that_goes_away_disturbs_nobody(
    kind: Kind, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with open_for_test(kind, request, tmp_path) as database:
        await database.write("CREATE TABLE notes (text TEXT)")
        async with asyncio.TaskGroup() as group:
            gone = [group.create_task(database.write((ADD, ("gone",)))) for _ in range(20)]
            kept = group.create_task(database.write((ADD, ("kept",))))
            await asyncio.sleep(0)
            for task in gone:
                task.cancel()

        assert kept.result() == 1
        assert ("kept",) in await database.rows("SELECT text FROM notes")
