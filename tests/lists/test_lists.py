"""User lists through their changes: what acts when, in this process and in others."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from penstock.audit import AuditLog
from penstock.clock import ManualClock
from penstock.db import Database, open_database
from penstock.errors import Conflict, InvalidInput, NotFound, TooLarge
from penstock.hub import LocalHub
from penstock.lists import files, lists, memory, quotas
from penstock.lists.index import LOOK_SECONDS, SMALL
from penstock.lists.lists import NOTHING, ListChange, Lists
from penstock.lists.store import adding_list, changing_list
from penstock.observe.metrics import Metrics
from tests.databases import DATABASES, open_for_test


@dataclass
class Installation:
    """One data folder; `open` gives the lists of one more process."""

    folder: Path
    database: Database
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: Metrics = field(default_factory=Metrics)

    async def open(self) -> Lists:
        found = Lists(
            self.database,
            hub=LocalHub(self.folder),
            clock=self.clock,
            audit=self.audit,
            metrics=self.metrics,
        )
        await found.refresh()
        return found

    @property
    def audit(self) -> AuditLog:
        return AuditLog(self.database, clock=self.clock)

    async def audited(self) -> list[str]:
        return [entry.action for entry in reversed(await self.audit.page())]


on_both = pytest.mark.parametrize("installation", DATABASES, indirect=True)
"""For what depends on how a database keeps lists; the other tests run on SQLite."""


@pytest.fixture
async def installation(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Installation]:
    kind = getattr(request, "param", "sqlite")
    async with open_for_test(kind, request, tmp_path) as database:
        yield Installation(tmp_path, database)


@pytest.fixture
async def here(installation: Installation) -> Lists:
    return await installation.open()


@pytest.fixture
async def there(installation: Installation) -> Lists:
    return await installation.open()


async def blocking(here: Lists, *phrases: str, key_id: str | None = None) -> str:
    name = f"words {len(await here.page(after=None, limit=1000, seen_by=None))}"
    made = await here.create(name, kind="block", actor="cli", key_id=key_id)
    await here.add(made.id, [("phrase", phrase, "") for phrase in phrases], actor="cli")
    return made.id


async def one_chunk(data: str) -> AsyncIterator[bytes]:
    yield data.encode()


def numbered(count: int) -> str:
    return "\n".join(f"word{number}x" for number in range(count))


async def test_a_new_word_acts_at_once_on_what_is_remembered(here: Lists) -> None:
    assert here.match("a badword", key=None, remember="content") is NOTHING

    await blocking(here, "badword")

    assert here.match("a badword", key=None, remember="content").decision == "rejected"


@on_both
async def test_a_new_word_acts_in_another_process_at_its_next_request(
    here: Lists, there: Lists
) -> None:
    list_id = await blocking(here, "other")
    await there.refresh()
    assert there.match("a badword", key=None, remember="content") is NOTHING

    await here.add(list_id, [("phrase", "badword", "")], actor="cli")

    assert there.stale
    await there.refresh()
    assert there.match("a badword", key=None, remember="content").decision == "rejected"
    assert not there.stale


@on_both
async def test_a_removed_word_stops_acting_everywhere(here: Lists, there: Lists) -> None:
    list_id = await blocking(here, "badword", "worse")
    await there.refresh()
    entry = (await here.entries(list_id))[0]

    await here.remove(list_id, entry.id, actor="cli")
    await there.refresh()

    assert here.match("badword", key=None) is NOTHING
    assert there.match("badword", key=None) is NOTHING
    assert there.match("worse", key=None).decision == "rejected"


@on_both
async def test_a_removed_word_can_be_added_again(here: Lists) -> None:
    list_id = await blocking(here, "badword")
    await here.remove(list_id, (await here.entries(list_id))[0].id, actor="cli")

    report = await here.add(list_id, [("phrase", "badword", "again")], actor="cli")

    assert report.taken == 1
    assert here.match("badword", key=None).decision == "rejected"
    assert [entry.note for entry in await here.entries(list_id)] == ["again"]


@on_both
async def test_a_deleted_list_stops_acting_and_its_numbers_go_on(here: Lists, there: Lists) -> None:
    list_id = await blocking(here, "one", "two", "three")
    await there.refresh()

    await here.delete(list_id, actor="cli")
    await there.refresh()
    again = await blocking(here, "four")
    await there.refresh()

    assert there.match("one two three", key=None) is NOTHING
    assert there.match("four", key=None).decision == "rejected"
    assert there.count(list_id) == 0
    assert there.count(again) == 1
    with pytest.raises(NotFound):
        await here.get(list_id)


async def test_a_list_of_one_key_is_for_its_requests_alone(here: Lists) -> None:
    await blocking(here, "badword", key_id="key_1")

    assert here.match("badword", key="key_1", remember="content").decision == "rejected"
    assert here.match("badword", key="key_2", remember="content") is NOTHING
    assert here.match("badword", key=None, remember="content") is NOTHING


@on_both
async def test_settings_of_a_list_act_at_once(here: Lists, there: Lists) -> None:
    list_id = await blocking(here, "badword")
    await there.refresh()

    async def seen(text: str, change: ListChange) -> str | None:
        await here.change(list_id, change, actor="cli")
        await there.refresh()
        return there.match(text, key=None, remember=text).decision

    assert there.match("b4dword", key=None).decision == "rejected"
    assert await seen("b4dword", ListChange(disguises=False)) is None
    assert await seen("b4dword", ListChange(disguises=True)) == "rejected"
    assert await seen("badword", ListChange(kind="review")) == "review"
    assert await seen("badword", ListChange(enabled=False)) is None
    assert await seen("badword", ListChange(enabled=True)) == "review"


@on_both
async def test_a_list_that_someone_else_changed_is_not_overwritten(
    installation: Installation, here: Lists
) -> None:
    list_id = await blocking(here, "badword")
    known = (await here.get(list_id)).updated_at

    first = await here.change(list_id, ListChange(name="mine"), actor="a", expected=known)

    with pytest.raises(Conflict, match="changed meanwhile"):
        await here.change(list_id, ListChange(name="yours"), actor="b", expected=known)
    assert (await here.get(list_id)).name == "mine"
    assert first.updated_at > known
    assert (await installation.audited()).count("list.changed") == 1


@on_both
async def test_a_change_that_comes_too_late_leaves_nothing_behind(
    installation: Installation, here: Lists
) -> None:
    """Between reading a list and writing it another process may have written it."""
    record = await here.get(await blocking(here, "badword"))
    await here.change(record.id, ListChange(name="mine"), actor="a")

    with pytest.raises(Conflict):
        await installation.database.write(
            changing_list(record, at=0, expected=record.updated_at),
            installation.audit.entry("b", "list.changed", record.id),
        )

    assert (await here.get(record.id)).name == "mine"
    assert (await installation.audited()).count("list.changed") == 1


@on_both
async def test_entries_are_added_all_or_none(here: Lists) -> None:
    list_id = await blocking(here, "known")
    entries = [
        ("phrase", "fine", ""),
        ("regex", "(a", ""),
        ("phrase", "fine", ""),
        ("phrase", "known", ""),
        ("phrase", "", ""),
    ]

    with pytest.raises(InvalidInput) as refused:
        await here.add(list_id, entries, actor="cli")

    pointers = [each["pointer"] for each in refused.value.fields["errors"]]  # type: ignore[attr-defined]
    assert pointers == ["/entries/1", "/entries/2", "/entries/3", "/entries/4"]
    assert here.match("fine", key=None) is NOTHING

    report = await here.add(list_id, entries, actor="cli", partial=True)

    assert (report.taken, report.skipped, report.refused) == (1, 2, 2)
    assert here.match("fine", key=None).decision == "rejected"


async def test_a_file_is_taken_whole_or_not_at_all(here: Lists) -> None:
    list_id = await blocking(here, "known")
    data = "# comment\n\nfine\nknown\n...x\x01\n\\#tag\nfine\n"

    with pytest.raises(InvalidInput) as refused:
        await here.import_(list_id, one_chunk(data), format="text", actor="cli")

    assert refused.value.fields["errors"] == [
        {"pointer": "/lines/5", "detail": "value has U+0001 at character 5, which no text has"}
    ]
    assert here.match("fine", key=None) is NOTHING

    report = await here.import_(list_id, one_chunk(data), format="text", actor="cli", partial=True)

    assert (report.taken, report.skipped, report.refused) == (2, 2, 1)
    assert here.match("a #tag", key=None).decision == "rejected"


@on_both
async def test_a_list_goes_out_and_comes_in_as_csv(here: Lists) -> None:
    data = (
        "kind,value,note\n"
        'phrase,"one, two","said ""so"""\n'
        "wildcard,bad*,\n"
        'regex,"a{2,3}",note\n'
        f"sha256,{'a' * 64},\n"
    )
    first = await blocking(here)
    second = await blocking(here)

    await here.import_(first, one_chunk("\ufeff" + data), format="csv", actor="cli")
    out = "".join([part async for part in here.export(first, format="csv")])
    report = await here.import_(second, one_chunk(out), format="csv", actor="cli")
    again = "".join([part async for part in here.export(second, format="csv")])

    assert report.taken == 4
    assert sorted(out.splitlines()) == sorted(again.splitlines()) == sorted(data.splitlines())


async def test_a_list_goes_out_as_text_by_kind(here: Lists) -> None:
    list_id = await blocking(here, "#tag", "word")
    await here.add(list_id, [("wildcard", "bad*", "")], actor="cli")

    phrases = "".join([part async for part in here.export(list_id, format="text")])
    wildcards = [part async for part in here.export(list_id, format="text", kind="wildcard")]

    assert phrases == "\\#tag\nword\n"
    assert wildcards == ["bad*\n"]


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        ("phrase\n", "1 columns"),
        ("phrase,a,b,c\n", "4 columns"),
        ('phrase,"a\n', "not CSV"),
        ("soundex,a\n", "kind must be one of"),
        (f"phrase,{'a' * 200_000}\n", "not CSV"),
    ],
)
async def test_a_row_that_is_none_is_named(here: Lists, data: str, detail: str) -> None:
    list_id = await blocking(here)

    report = await here.import_(list_id, one_chunk(data), format="csv", actor="cli", partial=True)

    assert report.refused == 1
    assert detail in report.refusals[0].detail
    assert report.refusals[0].line == 1


async def test_a_file_that_is_no_text_is_refused(here: Lists) -> None:
    list_id = await blocking(here)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"fine\n\xff\xfe"

    with pytest.raises(InvalidInput, match="line 2 has the byte 0xff"):
        await here.import_(list_id, chunks(), format="text", actor="cli")


async def test_a_file_is_bounded(here: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    list_id = await blocking(here)
    monkeypatch.setattr(files, "MOST_ENTRIES", 10)
    with pytest.raises(TooLarge, match="more than 10 entries"):
        await here.import_(list_id, one_chunk(numbered(11)), format="text", actor="cli")

    monkeypatch.setattr(files, "MOST_BYTES", 10)
    with pytest.raises(TooLarge, match="larger than 10 bytes"):
        await here.import_(list_id, one_chunk(numbered(3)), format="text", actor="cli")


@on_both
async def test_all_of_an_import_acts_here_when_it_is_answered(here: Lists, there: Lists) -> None:
    list_id = await blocking(here)
    count = SMALL + 500

    report = await here.import_(list_id, one_chunk(numbered(count)), format="text", actor="cli")
    await there.refresh()

    assert report.taken == count
    for process in (here, there):
        assert process.match(f"word{count - 1}x", key=None).decision == "rejected"
        assert process.match("word0x", key=None).decision == "rejected"
        assert process.count(list_id) == count


@on_both
async def test_a_new_word_acts_while_a_large_import_is_learnt(here: Lists, there: Lists) -> None:
    list_id = await blocking(here, "known", "gone")
    gone = (await here.entries(list_id))[1]
    keeping = asyncio.ensure_future(there.keep())
    await there.refresh()

    await here.import_(list_id, one_chunk(numbered(SMALL + 1)), format="text", actor="cli")
    await there.refresh()  # learns it in the background
    await here.add(list_id, [("phrase", "urgent", "")], actor="cli")
    await here.remove(list_id, gone.id, actor="cli")
    await there.refresh()

    assert there.match("urgent", key=None).decision == "rejected"
    assert there.match("gone", key=None) is NOTHING
    assert there.match("known", key=None).decision == "rejected"
    await there.settle()
    assert there.match(f"word{SMALL}x", key=None).decision == "rejected"
    assert there.match("urgent", key=None).decision == "rejected"
    assert there.match("gone", key=None) is NOTHING
    keeping.cancel()
    await asyncio.wait([keeping])


@on_both
async def test_a_list_made_while_entries_are_learnt_is_not_lost(here: Lists, there: Lists) -> None:
    """Its entries may be read before the list is."""
    await blocking(here, "first")
    filling = asyncio.ensure_future(there.refresh())
    await asyncio.sleep(0)

    await blocking(here, "second")
    await filling
    await there.refresh()

    assert there.match("second", key=None).decision == "rejected"


async def test_a_change_is_seen_when_the_hub_tells_nothing(
    installation: Installation, there: Lists
) -> None:
    elsewhere = Lists(
        installation.database,
        hub=LocalHub(installation.folder / "lost"),
        clock=installation.clock,
        audit=installation.audit,
        metrics=installation.metrics,
    )
    await elsewhere.refresh()
    await blocking(elsewhere, "badword")
    assert not there.stale

    installation.clock.advance(LOOK_SECONDS)

    assert there.stale
    await there.refresh()
    assert there.match("badword", key=None).decision == "rejected"


@on_both
async def test_removals_may_be_forgotten_once_everyone_knows(
    installation: Installation, here: Lists, there: Lists
) -> None:
    list_id = await blocking(here, "badword", "worse", "last")
    await there.refresh()
    entries = await here.entries(list_id)
    await here.remove(list_id, entries[0].id, actor="cli")
    await here.remove(list_id, entries[2].id, actor="cli")

    installation.clock.advance(lists.KEEP_REMOVED + 1)
    count = await here.purge()
    await there.refresh()

    assert count == 1  # the newest change stays, or numbers would begin again
    assert there.match("badword last", key=None) is NOTHING
    assert there.match("worse", key=None).decision == "rejected"


async def test_a_decision_of_people_stands_above_all_lists(here: Lists, there: Lists) -> None:
    text = "a badword that was said in jest"
    digest = hashlib.sha256(text.encode()).hexdigest()
    await blocking(here, "badword")

    await here.decide(digest, decision="approved", key_ids=["key_1"], actor="key_9", note="case_1")
    await there.refresh()

    listed = there.match(text, key="key_1", remember="content")
    assert (listed.decision, listed.whole) == ("approved", True)
    assert listed.exempt == ((0, len(text)),)
    assert there.match(text, key="key_2", remember="content").decision == "rejected"
    assert there.match(text + "!", key="key_1").decision == "rejected"


@on_both
async def test_a_newer_decision_replaces_an_older_one(here: Lists) -> None:
    digest = hashlib.sha256(b"said so").hexdigest()
    keys = ["key_1", None]

    await here.decide(digest, decision="rejected", key_ids=keys, actor="a")
    first = here.match("said so", key="key_1")
    await here.decide(digest, decision="approved", key_ids=keys, actor="b")
    second = here.match("said so", key="key_1")
    await here.decide(digest, decision="rejected", key_ids=["key_1"], actor="a")
    third = here.match("said so", key="key_1")

    assert [each.decision for each in (first, second, third)] == [
        "rejected",
        "approved",
        "rejected",
    ]
    assert here.match("said so", key=None).decision == "approved"


async def test_decisions_hold_for_images_too(here: Lists) -> None:
    digest = hashlib.sha256(b"\x89PNG").hexdigest()

    await here.decide(digest, decision="rejected", key_ids=[None], actor="a", note="case_1")

    listed = here.match_image(digest, (), (), key="key_1")
    assert listed.decision == "rejected"
    assert here.match_image("0" * 64, (), (), key="key_1") is NOTHING


@on_both
async def test_decisions_are_shown_and_taken_back_but_not_edited(here: Lists) -> None:
    digest = hashlib.sha256(b"said so").hexdigest()
    await here.decide(digest, decision="rejected", key_ids=["key_1"], actor="a", note="case_1")
    managed = (await here.page(after=None, limit=10, seen_by="key_1"))[0]
    entry = (await here.entries(managed.id))[0]

    with pytest.raises(Conflict, match="decisions of people"):
        await here.add(managed.id, [("phrase", "word", "")], actor="cli")
    with pytest.raises(Conflict, match="decisions of people"):
        await here.change(managed.id, ListChange(enabled=False), actor="cli")
    await here.remove(managed.id, entry.id, actor="cli")

    assert (managed.kind, managed.key_id, entry.note) == ("block", "key_1", "case_1")
    assert here.match("said so", key="key_1") is NOTHING


@on_both
async def test_every_change_is_audited_with_who_made_it(
    installation: Installation, here: Lists
) -> None:
    made = await here.create("words", kind="block", actor="key_1")
    await here.add(made.id, [("phrase", "badword", "")], actor="key_2")
    await here.change(made.id, ListChange(name="new"), actor="key_3")
    await here.remove(made.id, (await here.entries(made.id))[0].id, actor="key_4")
    await here.delete(made.id, actor="key_5")

    entries = [(e.actor, e.action, e.subject) for e in reversed(await installation.audit.page())]

    assert entries == [
        ("key_1", "list.created", made.id),
        ("key_2", "list.entries_added", made.id),
        ("key_3", "list.changed", made.id),
        ("key_4", "list.entry_removed", made.id),
        ("key_5", "list.deleted", made.id),
    ]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x7fb", "a" * 101])
async def test_a_name_that_cannot_be_shown_is_refused(here: Lists, name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        await here.create(name, kind="block", actor="cli")

    assert refused.value.fields["errors"][0]["pointer"] == "/name"  # type: ignore[index]


CONSONANTS = "bcdfghjklmnpqrstvwxyz"
SMALL_QUOTA = quotas.Quota(lists=2, entries=4, patterns=1, size=100)


@pytest.mark.parametrize("key_id", [None, "key_1"])
async def test_a_quota_says_which_it_is_and_bounds_nobody_else(
    here: Lists, monkeypatch: pytest.MonkeyPatch, key_id: str | None
) -> None:
    monkeypatch.setattr(quotas, "EVERYONES" if key_id is None else "KEYS", SMALL_QUOTA)
    whose = "for everyone" if key_id is None else "for the key key_1"
    list_id = await blocking(here, "one", key_id=key_id)
    await blocking(here, "two", key_id=key_id)

    async def refused(*entries: tuple[str, str, str]) -> str:
        with pytest.raises(Conflict) as error:
            await here.add(list_id, entries, actor="a")
        return error.value.detail

    with pytest.raises(Conflict, match=f"the lists {whose} are 2, which is the quota"):
        await here.create("third", kind="block", actor="a", key_id=key_id)
    entries = await refused(*(("phrase", f"a{number}", "") for number in range(3)))
    patterns = await refused(("regex", "a+", ""), ("regex", "b+", ""))
    size = await refused(("regex", "a{200}", ""))
    await here.add(list_id, [("wildcard", "bad?", "")], actor="a")
    others = await blocking(here, "x1", "x2", "x3", "x4", key_id="key_1" if not key_id else None)

    assert f"the lists {whose} hold 2 entries; 3 more would be over the quota of 4" in entries
    assert f"the lists {whose} hold 0 patterns" in patterns
    assert "the quota of 1:" in patterns
    assert "instructions" in size
    assert here.count(others) == 4


async def test_all_wildcards_of_a_key_count_as_patterns(
    here: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "KEYS", SMALL_QUOTA)
    list_id = await blocking(here, key_id="key_1")

    await here.add(list_id, [("wildcard", "bad*", "")], actor="a")

    assert here.match("badness", key="key_1").decision == "rejected"
    with pytest.raises(Conflict, match="patterns"):
        await here.add(list_id, [("wildcard", "worse*", "")], actor="a")


async def test_keys_together_are_bounded_apart_from_everyones_lists(
    here: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "ALL_KEYS", 3)
    await blocking(here, "one", "two", key_id="key_1")

    with pytest.raises(Conflict, match="all keys together"):
        await blocking(here, "one", "two", key_id="key_2")
    everyones = await blocking(here, "one", "two", "three", "four")

    assert here.count(everyones) == 4


@on_both
async def test_entries_added_at_once_share_a_quota(
    here: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "KEYS", SMALL_QUOTA)
    list_id = await blocking(here, key_id="key_1")
    adding = (here.add(list_id, [("phrase", f"w{n}", "")], actor="a") for n in range(6))

    results = await asyncio.gather(*adding, return_exceptions=True)

    assert sum(isinstance(each, Conflict) for each in results) == 2
    assert here.count(list_id) == 4


@on_both
async def test_what_a_list_has_takes_no_room_again(
    here: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "KEYS", SMALL_QUOTA)
    list_id = await blocking(here, "one", "two", "three", key_id="key_1")
    data = "one\ntwo\nthree\nfour\n"

    report = await here.import_(list_id, one_chunk(data), format="text", actor="a")

    assert (report.taken, report.skipped) == (1, 3)
    with pytest.raises(Conflict):
        await here.import_(list_id, one_chunk(data + "five"), format="text", actor="a")


async def test_a_file_of_regexes_is_bounded(here: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_REGEXES", 2)
    list_id = await blocking(here)
    data = one_chunk("a+\nb+\nc+\n")

    with pytest.raises(TooLarge, match="2 of them regex"):
        await here.import_(list_id, data, format="text", kind="regex", actor="a")


@on_both
async def test_decisions_of_people_take_no_room(
    here: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "KEYS", SMALL_QUOTA)
    for number in range(5):
        digest = hashlib.sha256(bytes(number)).hexdigest()
        await here.decide(digest, decision="rejected", key_ids=["key_1"], actor="a")

    list_id = await blocking(here, "one", "two", "three", "four", key_id="key_1")

    assert here.count(list_id) == 4


@on_both
async def test_a_name_is_given_once_for_each_key(
    installation: Installation, here: Lists, there: Lists
) -> None:
    first = await here.create("words", kind="block", actor="a")
    other = await here.create("others", kind="block", actor="a")
    await here.create("words", kind="block", actor="a", key_id="key_1")

    with pytest.raises(Conflict, match=first.id):
        await there.create("words", kind="allow", actor="a")
    with pytest.raises(Conflict, match=first.id):
        await here.change(other.id, ListChange(name="words"), actor="a")
    with pytest.raises(Conflict):  # between the look and the writing another process was there
        await installation.database.write(
            adding_list(msgspec.structs.replace(first, id="list_late"), most=9, managed="decisions")
        )
    same = await here.change(first.id, ListChange(name="words", enabled=False), actor="a")

    assert not same.enabled


async def test_what_one_key_lists_costs_and_hides_nothing_from_others(here: Lists) -> None:
    """An index of its own: neither its patterns nor its hashes are asked about other texts."""
    own = await here.create("own", kind="block", actor="a", key_id="key_1")
    near = [f"{number:064x}" for number in range(300)]
    await here.add(
        own.id,
        [("regex", f"[a-z]|q{number}z", "") for number in range(200)]
        + [("pdq", value, "") for value in near],
        actor="a",
    )
    everyones = await here.create("pictures", kind="block", actor="a")
    await here.add(everyones.id, [("pdq", "f" * 7 + "0" * 57, "")], actor="a")

    found = list(here._scopes.of("key_2"))

    assert [(scope.key_id, len(index)) for scope, index in found] == [(None, 1)]
    assert not here._scopes.has_patterns("key_2")
    assert here.match_image("", [bytes(32)], (), key="key_2").hits[0].list_id == everyones.id
    assert here.match("some text", key="key_2") is NOTHING


async def test_a_text_that_is_too_much_for_lists_is_left_to_people(
    installation: Installation, here: Lists
) -> None:
    """Patterns that were made for it cost 25 ns for each byte and instruction."""
    own = await here.create("own", kind="block", actor="a", key_id="key_1")
    values = [f"(?s)x.*[ab]*a[ab]{{20}}c{number}" for number in range(200)]
    await here.add(own.id, [("regex", value, "") for value in values], actor="a")
    await blocking(here, "badword")
    text = "x" + "ab" * 500_000

    own_text = await here.match_long(text, key="key_1", remember="a")
    again = await here.match_long(text, key="key_1", remember="a")
    blocked = await here.match_long(f"{text} badword", key="key_1")
    others = await here.match_long(text, key="key_2")

    assert (own_text.decision, own_text.hits[0].list_id) == ("review", own.id)
    assert own_text.hits[0].entry_id == 0
    assert again is own_text
    assert blocked.decision == "rejected"
    assert others is NOTHING
    assert installation.metrics.total("penstock_list_overruns_total") == 2


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([" ".join(["a"] * count + ["b"]) for count in range(1, 99)], "a " * 400_000),
        (["#" * count + "$" for count in range(1, 990)], "#" * 20_000),
        (
            ["".join(letters) for letters in itertools.product("il", repeat=10)],
            "1!1!1!l!1! " * 9_000,
        ),
        (
            [
                f"b{middle}d"
                for middle in itertools.islice(
                    map("".join, itertools.product("aeiou", repeat=4)), 600
                )
            ],
            " ".join(f"b*{a}{b}*d" for a, b in itertools.product(CONSONANTS, repeat=2)),
        ),
    ],
    ids=["rows", "symbols", "alike", "masked"],
)
async def test_phrases_that_were_made_to_cost_much_are_left_to_people_too(
    here: Lists, values: list[str], text: str
) -> None:
    own = await here.create("own", kind="block", actor="a", key_id="key_1")
    await here.add(own.id, [("phrase", value, "") for value in values], actor="a")

    listed = await here.match_long(text, key="key_1")

    assert (listed.decision, listed.hits[-1].entry_id) == ("review", 0)


async def test_an_exempt_piece_before_it_hides_no_hit_of_a_pattern(here: Lists) -> None:
    allowed = await here.create("allowed", kind="allow", actor="a")
    await here.add(allowed.id, [("phrase", "class pass", "")], actor="a")
    blocked = await here.create("blocked", kind="block", actor="a")
    await here.add(
        blocked.id, [("regex", "[cp]l?ass", ""), ("wildcard", "?lass pass", "")], actor="a"
    )
    exempt = "class pass. " * 1_100

    spared = await here.match_long(exempt, key=None)
    found = await here.match_long(exempt + "glass pass", key=None)

    assert spared.decision is None
    assert (found.decision, found.hits[0].start) == ("rejected", len(exempt))


async def test_an_allow_list_becomes_a_block_list_at_once(here: Lists, there: Lists) -> None:
    made = await here.create("words", kind="allow", actor="a")
    await here.add(made.id, [("phrase", "badword", "")], actor="a")
    await there.refresh()
    before = there.match("badword", key=None)

    await here.change(made.id, ListChange(kind="block"), actor="a")
    await there.refresh()
    after = there.match("b4dword", key=None)
    await here.change(made.id, ListChange(kind="allow"), actor="a")
    await there.refresh()

    assert (before.decision, after.decision) == ("approved", "rejected")
    assert there.match("b4dword", key=None) is NOTHING
    assert there.match("badword", key=None).decision == "approved"


async def test_a_decision_about_an_image_and_its_text_is_for_no_text(here: Lists) -> None:
    """Its hash is of bytes that begin with NUL; it is looked up and never taken apart."""
    content = b"\x00text and images"
    digest = hashlib.sha256(content).hexdigest()

    await here.decide(digest, decision="approved", key_ids=[None], actor="a")

    assert here.match_image(digest, (), (), key=None).decision == "approved"
    assert here.match(content.decode(), key=None) is NOTHING


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1 234", "'+1 234"),
        ("-words-", "'-words-"),
        ("@handle", "'@handle"),
        ("'=quoted", "''=quoted"),
        ("'tis", "'tis"),
        ("a=b", "a=b"),
    ],
)
async def test_no_cell_is_a_formula_and_all_come_back(here: Lists, value: str, cell: str) -> None:
    first, second = await blocking(here, value), await blocking(here)

    out = "".join([part async for part in here.export(first, format="csv")])
    await here.import_(second, one_chunk(out), format="csv", actor="cli")

    assert out == f"kind,value,note\nphrase,{cell},\n"
    assert [entry.value for entry in await here.entries(second)] == [value]


async def test_a_long_text_is_matched_beside_the_loop_and_remembered(here: Lists) -> None:
    await blocking(here, "badword")
    text = "word " * 10_000 + "badword"

    first = await here.match_long(text, key=None, remember="content")
    second = await here.match_long(text, key=None, remember="content")

    assert first.decision == "rejected"
    assert first.hits[0].start == 50_000
    assert second is first


async def test_what_is_remembered_is_bounded(here: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    await blocking(here, "badword")
    monkeypatch.setattr(memory, "REMEMBERED", 10)

    hot = here.match("badword", key=None, remember="hot")
    for number in range(100):
        here.match("a text", key=None, remember=f"cold{number}")
        assert here.match("badword", key=None, remember="hot") is hot

    assert len(here._memory._young) + len(here._memory._old) <= 20


async def test_what_is_known_goes_on_counting_while_lists_cannot_be_read(
    installation: Installation, tmp_path: Path
) -> None:
    database = open_database(folder=tmp_path / "other")
    found = Lists(
        database,
        hub=LocalHub(installation.folder),
        clock=installation.clock,
        audit=installation.audit,
        metrics=installation.metrics,
    )
    await found.refresh()
    await blocking(found, "badword")
    await database.aclose()
    installation.clock.advance(LOOK_SECONDS)

    await found.refresh()

    assert not found.stale
    assert found.match("badword", key=None).decision == "rejected"
