from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import numpy
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from penstock.codec import COMPRESSED, LARGEST, PLAIN, VERSION, Codec, decode, encode, identical
from penstock.errors import UnencodableValue, UnreadableValue

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text()
    | st.binary()
)
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.frozensets(st.integers(), max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


class Verdict(msgspec.Struct):
    label: str
    spans: list[tuple[int, int]]


@dataclass
class Point:
    x: int
    y: float


class Colour(enum.Enum):
    RED = "red"


class Model(BaseModel):
    name: str
    scores: dict[str, float]


@given(plain)
def test_plain_values_read_back_the_same(value):
    assert identical(value, decode(encode(value)))


@given(anything)
def test_a_value_reads_back_the_same_or_is_refused(value):
    try:
        data = encode(value)
    except UnencodableValue:
        return

    assert identical(value, decode(data))


@given(plain)
def test_compression_changes_nothing(value):
    assert identical(value, decode(encode(value, compress_from=1)))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Verdict("ok", [(1, 2)]), Verdict),
        (Point(1, 2.0), Point),
        (Colour.RED, Colour),
        (Model(name="m", scores={"a": 0.5}), Model),
        ([Model(name="m", scores={})], list[Model]),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        (datetime(2024, 1, 2, tzinfo=UTC), datetime),
        ({"a": (1, 2)}, dict[str, tuple[int, int]]),
    ],
)
def test_typed_values_read_back_with_their_type(value, kind):
    assert identical(value, decode(encode(value, type=kind), kind))


@pytest.mark.parametrize(
    "value", [(1,), {1}, Verdict("a", []), Point(1, 2), Colour.RED, {"a": (1,)}, 1 << 64, "\ud800"]
)
def test_without_its_type_a_value_is_refused(value):
    with pytest.raises(UnencodableValue):
        encode(value)


def test_a_wrong_type_is_refused_rather_than_converted():
    with pytest.raises(UnencodableValue):
        encode((1, 2), type=list[int])


def test_a_plain_value_needs_no_type_and_is_not_converted_by_one():
    assert identical(decode(encode({"a": 1}, type=dict[str, float]), dict[str, float]), {"a": 1})


def test_an_offset_that_would_be_lost_is_refused():
    noon = datetime(2024, 1, 2, 12, tzinfo=timezone(timedelta(hours=2), "X"))

    with pytest.raises(UnencodableValue):
        encode([noon, object()], type=list)


def test_an_embedding_takes_four_bytes_a_number():
    embedding = numpy.arange(384, dtype=numpy.float32)

    data = encode(embedding)

    assert len(data) < 384 * 4 + 32
    assert identical(decode(data), embedding)


@pytest.mark.parametrize("kind", ["<f8", "<f2", "<i8", "|u1", "|b1"])
def test_arrays_keep_their_number_type_and_can_be_changed(kind):
    array = numpy.ones((2, 3), dtype=kind)

    read = decode(encode({"a": array}))["a"]
    read[0, 0] = 0

    assert read.dtype == array.dtype
    assert read.shape == (2, 3)


def test_large_values_are_compressed_when_asked():
    text = "again and again " * 1000

    assert len(encode(text, compress_from=2048)) < len(text) // 10
    assert len(encode(text)) > len(text)
    assert decode(encode(text, compress_from=2048)) == text


def test_small_values_are_not_compressed():
    assert encode("aaaaaaaaaaaaaaaaaaaa", compress_from=2048)[1:] == msgspec.msgpack.encode(
        "a" * 20
    )


@pytest.mark.parametrize("data", [b"", b"\x00\x01", b"\x20\x01", b"\x12garbage"])
def test_foreign_bytes_are_unreadable(data):
    with pytest.raises(UnreadableValue):
        decode(data)


def test_bytes_of_another_type_are_unreadable():
    data = encode(Verdict("a", []), type=Verdict)

    with pytest.raises(UnreadableValue):
        decode(data, Point)


@pytest.mark.parametrize("value", [None, 1, "a", [1], {"label": "a", "spans": []}])
def test_a_plain_value_is_neither_read_nor_written_as_a_struct(value):
    with pytest.raises(UnreadableValue):
        decode(encode(value), Verdict)
    with pytest.raises(UnreadableValue):
        Codec(Verdict).thaw_plain(encode(value)[1:])
    with pytest.raises(UnencodableValue):
        encode(value, type=Verdict)


@pytest.mark.parametrize("kind", [Verdict | None, list[Verdict], dict[str, Verdict], list])
def test_a_plain_value_is_read_where_its_type_allows_for_it(kind):
    value = None if kind == Verdict | None else kind()

    assert identical(decode(encode(value, type=kind), kind), value)


@pytest.mark.parametrize("size_known", [True, False])
def test_a_few_bytes_that_would_become_too_many_are_unreadable(size_known):
    squeezer = zstandard.ZstdCompressor(write_content_size=size_known)
    bomb = bytes((VERSION | PLAIN | COMPRESSED,)) + squeezer.compress(bytes(LARGEST + 1))

    with pytest.raises(UnreadableValue, match="would decompress"):
        decode(bomb)


def test_what_is_too_large_to_decompress_is_not_compressed(monkeypatch):
    monkeypatch.setattr("penstock.codec.LARGEST", 1000)
    small, large = "a" * 900, "a" * 1100

    data = [encode(text, compress_from=100) for text in (small, large)]

    assert len(data[0]) < 100 < 1100 < len(data[1])
    assert [decode(each) for each in data] == [small, large]


def test_a_value_inside_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)

    with pytest.raises(UnencodableValue):
        Codec().pack(loop)


@pytest.mark.parametrize(("a", "b"), [(1, True), (1, 1.0), ([1], (1,)), ({1}, {True}), (0.0, 0)])
def test_equal_values_of_other_types_are_not_identical(a, b):
    assert not identical(a, b)
