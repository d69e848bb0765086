"""User lists over HTTP: what is asked and what is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

from penstock.lists.entries import LONGEST_NOTE, LONGEST_VALUE, EntryKind
from penstock.lists.files import Report
from penstock.lists.listed import Listed, ListKind, Outcome
from penstock.lists.lists import LONGEST_NAME, Lists, is_managed
from penstock.lists.pictures import Looks
from penstock.lists.store import EntryRecord, ListRecord
from penstock.web.instants import instant

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
        "count, and a text that is wholly inside is approved. Allow lists are for admins."
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


class ListEntryRequest(BaseModel, extra="forbid"):
    """What to find."""

    kind: EntryKind = "phrase"
    value: str = Field(max_length=LONGEST_VALUE)
    note: str = Field("", max_length=LONGEST_NOTE)


class EntriesRequest(BaseModel, extra="forbid"):
    """Entries to add; all of them, unless `partial`."""

    entries: list[ListEntryRequest] = Field(min_length=1, max_length=MOST_ADDED)
    partial: bool = False


class ListEntryView(BaseModel):
    """An entry of a list."""

    id: int
    kind: EntryKind
    value: str
    note: str
    created_by: str
    created_at: datetime


class ListRefusalView(BaseModel):
    """An entry that was not taken."""

    pointer: str = Field(description="/lines/5 of a file, from 1; /entries/4 of a request, from 0.")
    detail: str


class ReportView(BaseModel):
    """What became of the entries."""

    taken: int
    skipped: int = Field(description="In the list already, or given twice.")
    refused: int
    refusals: list[ListRefusalView] = Field(description="The first 100.")


class ListTestRequest(BaseModel, extra="forbid"):
    """A text or an image to look for entries in. Nothing of it is kept."""

    __test__ = False

    text: str | None = Field(None, min_length=1)
    image: str | None = Field(
        None, min_length=1, description="The bytes of an image: data:image/png;base64,..."
    )
    key_id: str | None = Field(
        None, max_length=64, description="As which key; others than one's own for admins only."
    )


class ListHitView(BaseModel):
    """An entry that was found, with offsets in code points."""

    list_id: str
    list_name: str
    list_kind: ListKind
    entry_id: int = Field(
        description="0: the lists are too much for this text, so it is left to people."
    )
    start: int
    end: int


class ImageLooksView(BaseModel):
    """What an image hashes to; any of them may be listed."""

    sha256: str
    pdq: str | None = Field(description="null: too little to see to be told from others.")
    phash: str | None
    quality: int = Field(description="0..100: how much there is to see.")


class ListTestView(BaseModel):
    """What the lists would say."""

    __test__ = False

    decision: Outcome | None = Field(description="null: no list has the last word.")
    hits: list[ListHitView] = Field(description="At most 64; the first is one that decided.")
    exempt: list[tuple[int, int]] = Field(description="What lies wholly inside does not count.")
    whole: bool = Field(description="The decision is about all of the text.")
    image: ImageLooksView | None = Field(None, description="Of an image, what it hashes to.")


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
        created_at=instant(record.created_at),
        updated_at=instant(record.updated_at),
    )


def entry_of(record: EntryRecord) -> ListEntryView:
    """An entry as it is shown."""
    return ListEntryView(
        id=record.id,
        kind=record.kind,
        value=record.value,
        note=record.note,
        created_by=record.created_by,
        created_at=instant(record.created_at),
    )


def report_of(report: Report, given: Literal["lines", "entries"]) -> ReportView:
    """What became of entries, as it is shown."""
    return ReportView(
        taken=report.taken,
        skipped=report.skipped,
        refused=report.refused,
        refusals=[
            ListRefusalView(pointer=f"/{given}/{each.line}", detail=each.detail)
            for each in report.refusals
        ],
    )


def found_of(listed: Listed, looks: Looks | None = None) -> ListTestView:
    """What lists say of a text or an image, as it is shown."""
    return ListTestView(
        decision=listed.decision,
        hits=[
            ListHitView(**{name: getattr(hit, name) for name in ListHitView.model_fields})
            for hit in listed.hits
        ],
        exempt=list(listed.exempt),
        whole=listed.whole,
        image=None if looks is None else _looks(looks),
    )


def _looks(looks: Looks) -> ImageLooksView:
    return ImageLooksView(
        sha256=looks.sha256,
        pdq=looks.pdq[0].hex() if looks.pdq else None,
        phash=looks.phash[0].hex() if looks.phash else None,
        quality=looks.quality,
    )
