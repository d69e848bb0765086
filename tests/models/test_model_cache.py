from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.clock import ManualClock
from penstock.errors import ConfigurationError, ReentrantCall
from penstock.models.cache import ModelCache, cache_model
from penstock.observe.metrics import Metrics


class Model:
    def __init__(self, size_bytes: int = 0) -> None:
        self.size_bytes = size_bytes


def test_fifty_threads_load_once() -> None:
    models, calls, all_here = ModelCache(), [], threading.Barrier(50)

    @models.cache_model("slow")
    def load() -> Model:
        calls.append(1)
        return Model()

    def ask(_: int) -> Model:
        all_here.wait(60)
        return load()

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(ask, range(50)))

    assert len(calls) == 1
    assert len(set(map(id, found))) == 1


async def test_fifty_coroutines_await_one_async_load() -> None:
    models, calls, gate = ModelCache(), [], asyncio.Event()

    @models.cache_model("slow")
    async def load() -> Model:
        calls.append(1)
        await gate.wait()
        return Model()

    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(load()) for _ in range(50)]
        await asyncio.sleep(0)
        gate.set()

    assert len(calls) == 1
    assert len({id(waiter.result()) for waiter in waiters}) == 1


async def test_fifty_coroutines_fetch_one_sync_load_without_blocking_the_loop() -> None:
    models, calls, gate = ModelCache(), [], threading.Event()

    def load() -> Model:
        calls.append(1)
        gate.wait(60)
        return Model()

    models.register("slow", load)

    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(models.fetch("slow")) for _ in range(50)]
        await asyncio.sleep(0)
        gate.set()  # reached only because the loop is free

    assert len(calls) == 1
    assert len({id(waiter.result()) for waiter in waiters}) == 1


async def test_the_first_caller_may_go_away() -> None:
    models, gate = ModelCache(), asyncio.Event()

    @models.cache_model("slow")
    async def load() -> Model:
        await gate.wait()
        return Model()

    async with asyncio.TaskGroup() as group:
        first = group.create_task(load())
        second = group.create_task(load())
        await asyncio.sleep(0)
        first.cancel()
        gate.set()

    assert isinstance(second.result(), Model)
    assert first.cancelled()


async def test_an_error_reaches_all_waiters_and_is_not_cached() -> None:
    models, calls = ModelCache(), []

    @models.cache_model("fragile")
    async def load() -> Model:
        calls.append(1)
        await asyncio.sleep(0)
        if len(calls) == 1:
            raise OSError("disk")
        return Model()

    found = await asyncio.gather(load(), load(), load(), return_exceptions=True)

    assert [str(error) for error in found] == ["disk"] * 3
    assert isinstance(await load(), Model)
    assert len(calls) == 2


def test_a_loader_that_asks_for_itself_is_refused() -> None:
    models = ModelCache()

    def load() -> Model:
        model: Model = models.get("circle")
        return model

    models.register("circle", load)

    with pytest.raises(ReentrantCall, match="circle"):
        models.get("circle")


def test_the_models_longest_unused_make_room() -> None:
    clock = ManualClock()
    models = ModelCache(max_bytes=100, clock=clock)
    for name in ("a", "b", "c"):
        models.register(name, lambda: Model(40))

    for name in ("a", "b", "a", "c"):
        models.get(name)
        clock.advance(1)

    assert {info.name: info.loaded for info in models.stats()} == {"a": True, "b": False, "c": True}


def test_a_model_in_use_is_neither_evicted_nor_unloaded() -> None:
    clock = ManualClock()
    models = ModelCache(max_bytes=50, idle_seconds=10, clock=clock)
    models.register("held", lambda: Model(40))
    models.register("other", lambda: Model(40))

    with models.use("held") as held:
        clock.advance(100)
        models.get("other")

        assert not models.unload("held")
        assert models.unload_idle() == []
        assert models.get("held") is held
    assert models.unload("held")


def test_an_idle_model_leaves_when_told_and_loads_again_when_asked() -> None:
    clock = ManualClock()
    models = ModelCache(idle_seconds=60, clock=clock)
    models.register("m", Model)
    first = models.get("m")

    clock.advance(59)
    early = models.unload_idle()
    clock.advance(2)
    late = models.unload_idle()

    assert (early, late) == ([], ["m"])
    assert models.get("m") is not first


def test_a_loaded_model_never_expires_by_itself() -> None:
    clock = ManualClock()
    models = ModelCache(clock=clock)
    models.register("m", Model)
    first = models.get("m")

    clock.advance(10_000_000)

    assert models.unload_idle() == []
    assert models.get("m") is first


async def test_a_model_used_in_a_loop_is_held_too() -> None:
    models = ModelCache()
    models.register("m", Model)

    async with models.use_async("m"):
        assert not models.unload("m")
    assert models.unload("m")


def test_hits_loads_and_errors_are_counted() -> None:
    clock, metrics = ManualClock(), Metrics()
    models = ModelCache(clock=clock, metrics=metrics)

    @models.cache_model("m", size_bytes=7)
    def load() -> Model:
        clock.advance(2.5)
        return Model()

    for _ in range(4):
        load()

    (info,) = models.stats()
    assert (info.hits, info.loads, info.load_seconds, info.size_bytes) == (3, 1, 2.5, 7)
    assert metrics.total("penstock_model_hits_total", model="m") == 3
    assert metrics.summary("penstock_model_load_seconds", model="m").count == 1


def test_a_falsy_model_is_a_model() -> None:
    models, calls = ModelCache(), []

    @models.cache_model("nothing")
    def load() -> None:
        calls.append(1)

    load()
    load()

    assert len(calls) == 1


def test_an_unknown_name_lists_the_known_ones() -> None:
    models = ModelCache()
    models.register("toxicity", Model)

    with pytest.raises(ConfigurationError, match="'tox'; known: toxicity"):
        models.get("tox")


def test_two_loaders_for_one_name_are_refused() -> None:
    models = ModelCache()
    models.register("m", Model)

    with pytest.raises(ConfigurationError, match="two loaders"):
        models.register("m", dict)


async def test_a_sync_get_of_an_async_loader_says_what_to_do() -> None:
    models = ModelCache()

    async def load() -> Model:
        return Model()

    models.register("m", load)

    with pytest.raises(ConfigurationError, match="await fetch"):
        models.get("m")


def test_the_free_decorator_finds_its_cache_at_the_first_call() -> None:
    made: list[ModelCache] = []

    @cache_model("late", cache=lambda: made[0])
    def load() -> Model:
        return Model()

    made.append(ModelCache())

    assert load() is load()
