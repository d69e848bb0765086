"""User lists over HTTP: what is asked and what is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BaseModel, Field

from penstock.lists.entries import LONGEST_NOTE, LONGEST_VALUE, EntryKind
from penstock.lists.files import Report
from penstock.lists.listed import Listed, ListKind, Outcome
from penstock.lists.lists import LONGEST_NAME, Lists, is_managed
from penstock.lists.store import EntryRecord, ListRecord

MOST_ADDED: Final = 1_000  # entries of one request; more come as a file

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]+$")]
Disguises = Annotated[
    bool, Field(description="Also find words that are written to look like others: `b4d w-o-r-d`.")
]


class ListRequest(BaseModel, extra="forbid"):
    """The list to make."""

    name: Name
    kind: ListKind = Field(
        description="block: rejected; review: left to a human; allow: what lies inside does not "
        "count, and a text that is wholly inside is approved."
    )
    key_id: str | None = Field(
        None, max_length=64, description="The API key whose requests it is for; null: everyone's."
    )
    disguises: Disguises = True
    enabled: bool = True


class ListPatch(BaseModel, extra="forbid"):
    """What to change; what is left out stays."""

    name: Name | None = None
    kind: ListKind | None = None
    disguises: Disguises | None = None
    enabled: bool | None = None


class ListView(BaseModel):
    """A list without its entries."""

    id: str
    name: str
    kind: ListKind
    key_id: str | None
    disguises: bool
    enabled: bool
    managed: bool = Field(description="Holds decisions of people; not edited by hand.")
    entries: int = Field(description="How many this server knows.")
    created_by: str
    created_at: datetime
    updated_at: datetime


class EntryRequest(BaseModel, extra="forbid"):
    """What to find."""

    kind: EntryKind = "phrase"
    value: str = Field(max_length=LONGEST_VALUE)
    note: str = Field("", max_length=LONGEST_NOTE)


class EntriesRequest(BaseModel, extra="forbid"):
    """Entries to add; all of them, unless `partial`."""

    entries: list[EntryRequest] = Field(min_length=1, max_length=MOST_ADDED)
    partial: bool = False


class EntryView(BaseModel):
    """An entry of a list."""

    id: int
    kind: EntryKind
    value: str
    note: str
    created_by: str
    created_at: datetime


class RefusalView(BaseModel):
    """An entry that was not taken."""

    line: int = Field(description="Of the file, from 1; of a request, its index from 0.")
    detail: str


class ReportView(BaseModel):
    """What became of the entries."""

    taken: int
    skipped: int = Field(description="In the list already, or given twice.")
    refused: int
    refusals: list[RefusalView] = Field(description="The first 100.")


class TestRequest(BaseModel, extra="forbid"):
    """A text to look for entries in. Nothing of it is kept."""

    __test__ = False

    text: str = Field(min_length=1)
    key_id: str | None = Field(
        None, max_length=64, description="As which key; others than one's own for admins only."
    )


class HitView(BaseModel):
    """An entry that was found, with offsets in code points."""

    list_id: str
    list_name: str
    list_kind: ListKind
    entry_id: int
    start: int
    end: int


class TestView(BaseModel):
    """What the lists would say."""

    __test__ = False

    decision: Outcome | None = Field(description="null: no list has the last word.")
    hits: list[HitView] = Field(description="At most 64; the first is one that decided.")
    exempt: list[tuple[int, int]] = Field(description="What lies wholly inside does not count.")
    whole: bool = Field(description="The decision is about all of the text.")


def view_of(lists: Lists, record: ListRecord) -> ListView:
    """A list as it is shown."""
    return ListView(
        id=record.id,
        name=record.name,
        kind=record.kind,
        key_id=record.key_id,
        disguises=record.disguises,
        enabled=record.enabled,
        managed=is_managed(record.id),
        entries=lists.count(record.id),
        created_by=record.created_by,
        created_at=_instant(record.created_at),
        updated_at=_instant(record.updated_at),
    )


def entry_of(record: EntryRecord) -> EntryView:
    """An entry as it is shown."""
    return EntryView(
        id=record.id,
        kind=record.kind,
        value=record.value,
        note=record.note,
        created_by=record.created_by,
        created_at=_instant(record.created_at),
    )


def report_of(report: Report) -> ReportView:
    """What became of entries, as it is shown."""
    return ReportView(
        taken=report.taken,
        skipped=report.skipped,
        refused=report.refused,
        refusals=[RefusalView(line=each.line, detail=each.detail) for each in report.refusals],
    )


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def tested(listed: Listed) -> TestView:
    """What lists say of a text, as it is shown."""
    return TestView(
        decision=listed.decision,
        hits=[
            HitView(**{name: getattr(hit, name) for name in HitView.model_fields})
            for hit in listed.hits
        ],
        exempt=list(listed.exempt),
        whole=listed.whole,
    )
