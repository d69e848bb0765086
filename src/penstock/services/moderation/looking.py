"""Looks at images: bytes, then perceptual hashes, then a provider that sees.

    URL ─ ImageSources ─► bytes ─► key = digest of them ─► cache ─► decode, hash ─► provider

What is cached is what was found out about the bytes (a `Sight`), as a text's Judgement is. Nothing
is decided here. Without a provider that sees, a Sight holds hashes and says `available: False`. A
remote image is fetched on every request: what an address shows today is not what it showed before.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from contextlib import nullcontext
from typing import Final, NamedTuple, TypeVar

import msgspec

from penstock.cache.keys import fingerprint
from penstock.errors import (
    BlockedAddress,
    FetchFailed,
    InvalidInput,
    PenstockError,
    ProviderError,
    TooLarge,
)
from penstock.images import (
    HASH_SIDE,
    LIMITS,
    VERSION,
    VIEW_SIDE,
    VIEW_TYPE,
    Limits,
    check_kind,
    hashes,
    open_image,
    view,
)
from penstock.net.dial import Dialler
from penstock.observe.metrics import Metrics
from penstock.pipeline import Answer, MaxAge, Own, Permit, Pipeline, Trace, Usage
from penstock.providers.provider import CATEGORIES, Scores, Seer
from penstock.services.moderation.image_sources import INLINE_BYTES, PLACES, ImageSources

NAMESPACE: Final = "sight"
DECODING: Final = 2  # images at once: each may take a core and hundreds of megabytes

_T = TypeVar("_T")


class Sight(msgspec.Struct, frozen=True, array_like=True):
    """What was found out about one image: the cached record. Holds no image and no decision."""

    digest: str  # of the scores: tells two sights of one image apart
    scores: tuple[float | None, ...]  # in the order of CATEGORIES; None: nobody judged it
    source: str  # "provider", or "local" where nobody looked
    versions: tuple[tuple[str, str], ...]
    sha256: str  # of the bytes, hex
    format: str  # jpeg, png, gif or webp
    width: int  # pixels
    height: int
    frames: int
    pdq: tuple[bytes, ...]  # 32 bytes each, all frames sampled in eight attitudes; may be empty
    phash: tuple[bytes, ...]  # 8 bytes each
    pdq_quality: int  # 0..100; too low: no hashes, since they would mean nothing
    available: bool  # False: no provider has looked, so nothing is known against or for it
    usage: Usage = Usage()
    rationale: str = ""

    @property
    def models(self) -> dict[str, str]:
        """Name -> version of everything that contributed."""
        return dict(self.versions)


class LookFailed(Exception):
    """Carries what was found without the provider past the cache, which must not keep it."""

    def __init__(
        self, sight: Sight, trace: Trace, cause: ProviderError, *, is_joined: bool = False
    ) -> None:
        super().__init__(str(cause))
        self.is_joined = is_joined  # the provider was asked for somebody else
        self.sight = sight
        self.trace = trace
        self.cause = cause


class _Read(NamedTuple):
    """What a thread makes of an image's bytes."""

    sight: Sight
    shown: bytes  # for the provider; empty without one


class Looker:
    """Looks at images; `models` names everything that looks, with versions."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        dialler: Dialler,
        provider: Seer | None,
        metrics: Metrics,
        limits: Limits = LIMITS,
    ) -> None:
        self._pipeline = pipeline
        self._sources = ImageSources(dialler, limits=limits)
        self._provider = provider
        self._metrics = metrics
        self._limits = limits
        self._decoding = asyncio.Semaphore(DECODING)
        own = {"penstock-images": VERSION}
        self.models: dict[str, str] = {**own, **(provider.sights if provider else {})}
        self._version = fingerprint(sorted(self.models.items()), CATEGORIES)
        self._blind = fingerprint(sorted(own.items()), CATEGORIES)

    @property
    def sees(self) -> bool:
        """Whether there is a provider that looks at images."""
        return self._provider is not None

    def key(self, sha256: str, *, ask: bool = True) -> str:
        """The key of what is known about an image: all its bytes, and who looks at it."""
        return f"{NAMESPACE}:{fingerprint(self._version if ask else self._blind, sha256)}"

    @staticmethod
    def places() -> asyncio.Semaphore:
        """The places of one request, for all of its calls of `look`."""
        return asyncio.Semaphore(PLACES)

    async def look(
        self,
        url: str,
        *,
        pointer: str,
        places: asyncio.Semaphore | None = None,
        ask: bool = True,
        max_age: MaxAge[Sight] | None = None,
        tags: tuple[str, ...] = (),
        permit: Permit | None = None,
    ) -> Answer[Sight]:
        """Look at the image behind a data: or http(s) URL. `ask` False leaves the provider out.

        A request that has several images passes its `places`, lest it take everyone's. Raises
        InvalidInput, TooLarge, BlockedAddress or FetchFailed with `pointer`, where the caller has
        the image; LookFailed when the provider does not answer; what `permit` does where it would
        have to be asked.
        """

        async def opened() -> Answer[Sight]:
            async with places or nullcontext(), self._sources.open(url) as (declared, data):
                return await self._answer(
                    data,
                    declared=declared,
                    ask=ask,
                    max_age=max_age,
                    tags=tags,
                    permit=permit,
                )

        return await _pointed(opened(), pointer)

    async def _answer(
        self,
        data: bytes,
        *,
        declared: str | None,
        ask: bool,
        max_age: MaxAge[Sight] | None,
        tags: tuple[str, ...],
        permit: Permit | None,
    ) -> Answer[Sight]:
        # Before the cache: what was sent as something else is refused although its bytes are known.
        check_kind(data, declared=declared, limits=self._limits)
        if len(data) <= INLINE_BYTES:
            sha256 = _digest(data)
        else:
            sha256 = await asyncio.to_thread(_digest, data)
        key = self.key(sha256, ask=ask)
        known: Answer[Sight] | None = self._pipeline.peek(key, max_age=max_age)
        if known is not None:
            return known
        provider = self._provider if ask else None
        own = Own(lambda trace: self._compute(data, sha256, provider, trace))
        try:
            return await self._pipeline.answer(
                key,
                own,
                type=Sight,
                max_age=max_age,
                tags=tags,
                permit=None if provider is None else permit,
            )
        except LookFailed as error:
            raise LookFailed(
                error.sight, error.trace, error.cause, is_joined=not own.ran
            ) from error.cause

    async def _compute(
        self, data: bytes, sha256: str, provider: Seer | None, trace: Trace
    ) -> Sight:
        with trace.stage("image"):
            async with self._decoding:
                sight, shown = await asyncio.to_thread(
                    _read, data, sha256, limits=self._limits, shown=provider is not None
                )
        if provider is None:
            return sight
        try:
            with trace.stage("provider"):
                scores = await provider.look(shown, VIEW_TYPE)
        except ProviderError as error:
            raise LookFailed(sight, trace, error) from error
        self._metrics.count("penstock_model_calls_total", model=provider.name)
        return _judged(sight, scores)


async def _pointed(work: Awaitable[_T], pointer: str) -> _T:
    """Do it; errors about the image say where the caller has it.

    Raised afresh: callers that wait for the same image have it in different places, and none may
    change what another one hears.
    """
    try:
        return await work
    except (InvalidInput, TooLarge, BlockedAddress, FetchFailed) as error:
        kind: type[PenstockError] = type(error)
        errors = [{"pointer": pointer, "detail": error.detail}]
        raise kind(error.detail, errors=errors) from error


def _read(data: bytes, sha256: str, *, limits: Limits, shown: bool) -> _Read:
    picture = open_image(data, limits=limits, side=VIEW_SIDE if shown else HASH_SIDE)
    known = hashes(picture)
    unjudged = (None,) * len(CATEGORIES)
    sight = Sight(
        digest=fingerprint(*unjudged, False),
        scores=unjudged,
        source="local",
        versions=(("penstock-images", VERSION),),
        sha256=sha256,
        format=picture.format,
        width=picture.width,
        height=picture.height,
        frames=picture.frames,
        pdq=known.pdq,
        phash=known.phash,
        pdq_quality=known.quality,
        available=False,
    )
    return _Read(sight, view(picture) if shown else b"")


def _judged(sight: Sight, given: Scores) -> Sight:
    """What is known once a provider has looked; six digits say more than any model knows."""
    scores = tuple(
        None if (score := given.scores.get(category)) is None else round(score, 6)
        for category in CATEGORIES
    )
    return msgspec.structs.replace(
        sight,
        digest=fingerprint(*scores, True),
        scores=scores,
        source="provider",
        versions=(*sight.versions, *given.models.items()),
        available=True,
        usage=Usage(given.tokens_in, given.tokens_out, given.cost_micros, given.currency),
        rationale=given.rationale[:200],
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
