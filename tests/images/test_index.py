from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.images import HashIndex, Near
from penstock.images.index import count_bits, count_bits_slowly
from tests.images.made import distance

CHANCE = np.random.default_rng(5)


def flipped(hash: bytes, *bits: int) -> bytes:
    number = int.from_bytes(hash, "big")
    for bit in bits:
        number ^= 1 << bit
    return number.to_bytes(len(hash), "big")


@settings(max_examples=60, deadline=None)
@given(
    known=st.lists(st.binary(min_size=8, max_size=8), max_size=40),
    asked=st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=3),
    within=st.integers(0, 64),
)
def test_it_finds_what_comparing_each_with_each_finds(
    known: list[bytes], asked: list[bytes], within: int
) -> None:
    index = HashIndex(64)
    index.extend((str(at), hash) for at, hash in enumerate(known))

    found = index.nearest(asked, distance=within, most=100)

    expected = {
        str(at): min(distance(hash, each) for each in asked) for at, hash in enumerate(known)
    }
    assert dict(found) == {id: far for id, far in expected.items() if far <= within}
    assert [near.distance for near in found] == sorted(near.distance for near in found)


@pytest.mark.parametrize("bits", [64, 128, 192, 256])
def test_a_distance_counts_every_word_of_a_hash(bits: int) -> None:
    hash = CHANCE.bytes(bits // 8)
    index = HashIndex(bits)
    index.add("near", flipped(hash, *range(0, bits, 16)))
    index.add("negative", bytes(255 - part for part in hash))

    far = bits // 16
    assert index.nearest([hash], distance=far) == [Near("near", far)]
    assert index.nearest([hash], distance=far - 1) == []
    assert index.nearest([hash], distance=1000)[0].id == "near"


def test_many_slices_are_searched() -> None:
    index = HashIndex(256)
    rows = [CHANCE.bytes(32) for _ in range(40_000)]
    index.extend((f"e{at}", hash) for at, hash in enumerate(rows))

    for at in (0, 16_383, 16_384, 39_999):
        assert index.nearest([flipped(rows[at], 3, 77, 200)], distance=31) == [Near(f"e{at}", 3)]


def test_an_entry_with_several_hashes_is_found_once_at_its_nearest() -> None:
    hash = CHANCE.bytes(32)
    index = HashIndex(256)
    index.extend([("a", flipped(hash, 1, 2)), ("a", flipped(hash, 1)), ("b", flipped(hash, 1, 2))])

    assert index.nearest([hash, flipped(hash, 9)], distance=31) == [Near("a", 1), Near("b", 2)]


def test_no_more_than_asked_for_are_told() -> None:
    index = HashIndex(64)
    index.extend((str(at), bytes(8)) for at in range(50))

    assert len(index.nearest([bytes(8)], distance=0, most=7)) == 7


def test_what_is_removed_is_gone_and_the_rest_is_not() -> None:
    index = HashIndex(64)
    index.extend((str(at), at.to_bytes(8, "big")) for at in range(100))

    index.remove("7", "8", "unknown")
    index.remove("unknown")

    assert len(index) == 98
    assert index.nearest([(7).to_bytes(8, "big")], distance=0) == []
    assert index.nearest([(9).to_bytes(8, "big")], distance=0) == [Near("9", 0)]


def test_nothing_is_near_in_an_empty_index_or_to_an_image_without_a_likeness() -> None:
    index = HashIndex(64)
    assert index.nearest([bytes(8)], distance=64) == []
    index.add("a", bytes(8))

    assert index.nearest([], distance=64) == []


def test_hashes_of_another_length_are_refused() -> None:
    index = HashIndex(256)

    with pytest.raises(ValueError, match="8 bytes among those of 32"):
        index.add("a", bytes(8))
    with pytest.raises(ValueError, match="not one to four words"):
        HashIndex(100)


def test_reading_goes_on_while_others_add_and_remove() -> None:
    index = HashIndex(64)
    index.add("stays", bytes(8))
    stop = threading.Event()

    def change() -> None:
        for turn in range(300):
            index.extend((f"{turn}-{at}", CHANCE.bytes(8)) for at in range(20))
            index.remove(*(f"{turn}-{at}" for at in range(20)))
        stop.set()

    writer = threading.Thread(target=change)
    writer.start()
    while not stop.is_set():
        assert index.nearest([bytes(8)], distance=0) == [Near("stays", 0)]
    writer.join()

    assert len(index) == 1


def test_bits_are_counted_alike_by_old_and_new_numpy() -> None:
    words = CHANCE.integers(0, 2**64, 1000, dtype=np.uint64)

    assert (count_bits_slowly(words) == count_bits(words)).all()
    assert count_bits_slowly(words[:1])[0] == int(words[0]).bit_count()
