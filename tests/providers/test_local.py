from __future__ import annotations

import asyncio
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.clock import ManualClock
from penstock.errors import ProviderTimeout
from penstock.models.features import normalise
from penstock.providers.local import OVERLAP_CHARACTERS, SLICE_CHARACTERS, LocalProvider, slices

HEADS = ("abuse", "hate", "threat", "sexual", "violence", "self_harm", "profanity")


class WordModel:
    """A model that knows one word per head: the head's name. `bonjour` is another language."""

    version = "words+1"

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.read: list[str] = []
        self._clock = clock

    def scores(self, text: str) -> dict[str, float]:
        self.read.append(text)
        if self._clock:
            self._clock.advance(1.0)
        found = {head: 0.9 if head in text else 0.1 for head in HEADS}
        return {**found, "other_language": 0.8 if "bonjour" in text else 0.2}


async def moderate(text: str) -> dict[str, float]:
    provider = LocalProvider(WordModel(), clock=ManualClock())
    return (await provider.moderate(text)).scores


async def test_heads_become_categories() -> None:
    scores = await moderate("abuse and self_harm")

    assert scores["harassment"] == 0.9
    assert scores["self-harm"] == 0.9
    assert scores["sexual"] == 0.1


@pytest.mark.parametrize(("text", "score"), [("hate", 0.1), ("threat", 0.1), ("hate threat", 0.9)])
async def test_threatening_hate_needs_both(text: str, score: float) -> None:
    assert (await moderate(text))["hate/threatening"] == score


async def test_what_the_model_does_not_judge_is_absent() -> None:
    scores = await moderate("text")

    unjudged = {"illicit", "illicit/violent", "sexual/minors", "violence/graphic"}
    assert not unjudged & scores.keys()
    assert not {"self-harm/intent", "self-harm/instructions"} & scores.keys()


async def test_another_language_is_told_apart_from_the_categories() -> None:
    provider = LocalProvider(WordModel(), clock=ManualClock())

    scores = await provider.moderate("bonjour")

    assert scores.other_language == 0.8
    assert scores.models == provider.models == {"penstock-local": "words+1"}
    assert scores.provider == "local"


@pytest.mark.parametrize("at", [0.0, 0.3, 0.5, 0.77, 1.0])
async def test_one_bad_word_in_a_long_text_is_found_wherever_it_stands(at: float) -> None:
    words = ["word"] * 10_000
    words.insert(int(at * len(words)), "threat")

    scores = await moderate(" ".join(words))

    assert scores["harassment/threatening"] == 0.9
    assert scores["violence"] == 0.1


async def test_a_long_text_lets_the_loop_turn_between_its_slices() -> None:
    model = WordModel()
    provider = LocalProvider(model, clock=ManualClock())
    seen: list[int] = []

    async def watch() -> None:
        while len(model.read) < 10:
            seen.append(len(model.read))
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(provider.moderate("word " * 8000))
        group.create_task(watch())

    assert seen[:5] == [1, 2, 3, 4, 5]


async def test_a_deadline_ends_a_long_text() -> None:
    clock = ManualClock()
    provider = LocalProvider(WordModel(clock), clock=clock)

    with pytest.raises(ProviderTimeout, match="more than 3 s"):
        await provider.moderate("word " * 8000, deadline=3.0)


@pytest.mark.parametrize("text", ["word " * 5000, "x" * 25_000, "\u4e2d" * 25_000])
def test_slices_cover_the_text_and_overlap(text: str) -> None:
    parts = list(slices(text))

    assert all(len(part) <= SLICE_CHARACTERS for part in parts)
    at = end = 0
    for part in parts:
        at = text.index(part, at) if len(set(text)) > 2 else max(0, end - OVERLAP_CHARACTERS)
        assert at <= end
        end = at + len(part)


def test_slices_end_between_words() -> None:
    text = "some words " * 2000

    assert all(part.endswith(" ") and part[0] in "sw" for part in slices(text))


@pytest.mark.parametrize("count", [100, SLICE_CHARACTERS, 5000])
async def test_characters_that_the_model_reads_as_many_are_sliced_as_many(count: int) -> None:
    """U+FDFA becomes 18 characters: a slice of them held the loop up for 50 ms."""
    model = WordModel()
    provider = LocalProvider(model, clock=ManualClock())

    await provider.moderate("\ufdfa" * count)

    assert all(len(unicodedata.normalize("NFKC", part)) <= SLICE_CHARACTERS for part in model.read)
    assert sum(map(len, model.read)) >= 18 * count


async def test_a_word_behind_characters_that_grow_is_found() -> None:
    scores = await moderate("\ufdfa " * 1000 + "threat" + " \ufdfa" * 1000)

    assert scores["harassment/threatening"] == 0.9


@given(st.text(st.sampled_from("ab \ufdfa\u2460\u0301\uff41"), max_size=40))
def test_slices_of_a_short_text_are_what_the_model_reads_of_it(text: str) -> None:
    (part,) = slices(text)

    assert normalise(part) == normalise(text)
