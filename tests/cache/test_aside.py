"""A loop in a thread of its own: what is asked there, what is sent, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import os
import select
import signal
import threading
from collections.abc import AsyncIterator

import pytest

from penstock.cache.aside import Aside

PATIENCE = 60.0
who = contextvars.ContextVar("who", default="nobody")


@pytest.fixture
async def ended() -> list[str]:
    """What was done before the end."""
    return []


@pytest.fixture
async def aside(ended) -> AsyncIterator[Aside]:
    async def before_end() -> None:
        ended.append(threading.current_thread().name)

    aside = Aside(before_end)
    yield aside
    await aside.aclose()


async def thread() -> str:
    return threading.current_thread().name


async def for_ever() -> str:
    await asyncio.Event().wait()
    return "never"


async def test_a_question_is_answered_by_one_thread_that_ends_with_it(aside, ended):
    before = set(threading.enumerate())
    assert {aside.ask(thread, nothing="") for _ in range(3)} == {"penstock-cache"}
    assert len(set(threading.enumerate()) - before) == 1

    await aside.aclose()

    assert ended == ["penstock-cache"]
    assert aside.ask(thread, nothing="closed") == "closed"
    aside.send(thread)
    assert set(threading.enumerate()) <= before


async def test_what_it_never_was_asked_starts_no_thread(aside, ended):
    before = set(threading.enumerate())

    await aside.aclose()

    assert set(threading.enumerate()) <= before
    assert ended == []


async def test_an_error_is_the_askers(aside):
    async def fail() -> None:
        raise LookupError("of the question")

    with pytest.raises(LookupError, match="of the question"):
        aside.ask(fail, nothing=None)


async def test_who_would_wait_for_themselves_gets_nothing(aside):
    async def ask_again() -> str:
        return aside.ask(thread, nothing="nothing")

    assert aside.ask(ask_again, nothing="") == "nothing"


async def test_a_callers_context_stays_with_the_caller(aside):
    async def see() -> str:
        return who.get()

    who.set("somebody")

    assert aside.ask(see, nothing="") == "nobody"


async def test_who_waits_when_it_ends_gets_nothing(aside):
    asking = threading.Event()

    async def begin() -> str:
        asking.set()
        return await for_ever()

    waiting = asyncio.ensure_future(asyncio.to_thread(lambda: aside.ask(begin, nothing="nothing")))
    assert await asyncio.to_thread(asking.wait, PATIENCE)
    await aside.aclose()

    assert await waiting == "nothing"


async def test_what_was_sent_is_done_before_it_ends(aside):
    done: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        done.append("work")

    for _ in range(10):
        aside.send(work)
    await aside.aclose()

    assert done == ["work"] * 10


async def test_what_comes_of_it_for_who_was_interrupted_is_passed_on(aside):
    """As Ctrl-C does in the main thread."""
    may_end, passed = threading.Event(), threading.Event()
    told: list[str] = []

    async def slow() -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        await asyncio.to_thread(may_end.wait, PATIENCE)
        return "late"

    def pass_on(answer: str) -> None:
        told.append(answer)
        passed.set()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            aside.ask(slow, nothing="", forsaken=pass_on)
    finally:
        signal.signal(signal.SIGINT, before)
    may_end.set()

    assert passed.wait(PATIENCE)
    assert told == ["late"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
async def test_a_forked_child_has_a_thread_of_its_own(aside):
    aside.ask(thread, nothing="")
    mine, theirs = os.pipe()
    aside._lock.acquire()  # as if another thread had held it at this moment
    child = os.fork()
    if child == 0:
        try:
            os.write(theirs, aside.ask(thread, nothing="nothing").encode())
        finally:
            os._exit(0)
    aside._lock.release()
    try:
        os.close(theirs)
        with os.fdopen(mine, "rb") as told:
            assert select.select([mine], [], [], PATIENCE)[0], "it hangs"
            assert told.read() == b"penstock-cache"
        assert aside.ask(thread, nothing="") == "penstock-cache"  # and the parent's goes on
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)  # noqa: ASYNC222  # it is dead
