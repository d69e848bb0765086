"""FilterX's four classes of requests over HTTP, against our bounds and those of its own document.

    prescreen block   new texts with a listed threat: a rule is certain, no model is asked
    cache hit         the same text again
    clean text        new harmless texts, read by the local model
    complex           new texts for which a provider is asked that takes 200 ms (rig U200)

The first and the last class are asked of a server with that provider, the others of one without.

Servers are processes of their own with stored keys, verdicts on record and limits on. One caller at
a time, two in the complex class: times are those of one request.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.http_cached import _token
from benchmarks.load import drive, free_port, last_reply, request, serving
from benchmarks.report import Report, ratio, row
from benchmarks.rigs.upstream import Upstream

CLAIM = "FilterX's four classes answer within 5, 10, 20 and 250 ms at the 95th percentile"
PATH = "/v1/filter"
UPSTREAM_SECONDS = 0.2
WARM = 50
WORDS = ("garden", "table", "window", "letter", "morning", "river", "paper", "summer", "kitchen")


class Class(NamedTuple):
    """One kind of request, and its bounds in milliseconds."""

    name: str
    text: str  # with a place for something new
    most: float
    seed_most: float  # "Phase 2 Target Metrics" of FilterX's document
    blocked: bool = False
    has_provider: bool = False
    asks_provider: bool = False
    requests: int = 300  # a round
    connections: int = 1


THREAT = "{} kill yourself you worthless piece of shit"
CLASSES = (
    Class("prescreen block", THREAT, 5, 80, blocked=True, has_provider=True),
    Class("cache hit", "Thanks a lot for the quick help yesterday.", 10, 40),
    Class("clean text", "We talked about the {} for a while.", 20, 150),
    Class(
        "complex",
        "That was a violent scene in the {}.",
        most=250,
        seed_most=250,
        blocked=True,
        has_provider=True,
        asks_provider=True,
        requests=40,
        connections=2,
    ),
)


def run(rounds: int = 7) -> Report:
    """Measure; milliseconds, 95th percentile of each round."""
    fresh = _fresh()
    spent: dict[str, list[float]] = {each.name: [] for each in CLASSES}
    with ExitStack() as stack:
        latency = (UPSTREAM_SECONDS, UPSTREAM_SECONDS)
        upstream = stack.enter_context(Upstream(latency=latency))
        provider = {"PENSTOCK_PROVIDER": f"{upstream.url}?api=moderations"}
        sides = {
            False: stack.enter_context(_server({})),
            True: stack.enter_context(_server({**provider, "PENSTOCK_MODEL": "stub"})),
        }
        for each in CLASSES:
            port, token = sides[each.has_provider]
            _check(each, port, next(fresh), token=token)
            drive(port, _wires(each, WARM, fresh, token=token), connections=each.connections)
        for _ in range(rounds):
            for each in CLASSES:
                port, token = sides[each.has_provider]
                wires = _wires(each, each.requests, fresh, token=token)
                times = drive(port, wires, connections=each.connections)
                spent[each.name].append(_p95(times) * 1000)
        asking = sum(each.requests * rounds + WARM + 1 for each in CLASSES if each.asks_provider)
        if upstream.calls != asking:
            raise RuntimeError(f"the provider was asked {upstream.calls} times, not {asking}")
    bounds = {f"{each.name}, p95 ms": (each.name, each.most) for each in CLASSES}
    bounds |= {f"{each.name}, FilterX's bound": (each.name, each.seed_most) for each in CLASSES}
    return {
        "claim": CLAIM,
        "rows": [row(name, values, "ms p95") for name, values in spent.items()],
        "ratios": {label: ratio(spent[name], most=most) for label, (name, most) in bounds.items()},
    }


@contextmanager
def _server(env: dict[str, str]) -> Iterator[tuple[int, str]]:
    """The port of a server and a token for it."""
    with tempfile.TemporaryDirectory() as home:
        env = {"PENSTOCK_HOME": home, "PENSTOCK_LOG_LEVEL": "warning", **env}
        token = _token(env)
        port = free_port()
        command = [sys.executable, "-m", "penstock", "serve", "--port", str(port)]
        with serving(command, port=port, ready="/livez", env=env):
            yield port, token


def _wires(each: Class, count: int, fresh: Iterator[str], *, token: str) -> list[bytes]:
    return [_wire(each, next(fresh), token=token) for _ in range(count)]


def _wire(each: Class, word: str, *, token: str) -> bytes:
    body = {"text": each.text.format(word), "config": {"returnFilteredMessage": True}}
    return request(PATH, json.dumps(body).encode(), token=token)


def _check(each: Class, port: int, word: str, *, token: str) -> None:
    """What is measured has to be what it is called."""
    answer = json.loads(last_reply(port, _wire(each, word, token=token)))
    if answer["blocked"] is not each.blocked:
        raise RuntimeError(f"{each.name}: {answer}")


def _fresh() -> Iterator[str]:
    """Words that make a text new."""
    return (" ".join(words) for words in itertools.product(WORDS, repeat=5))


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=100, method="inclusive")[94]


def main() -> int:
    """Print pass or fail for each class and bound; 1 when one fails."""
    report = run(int(sys.argv[1]) if sys.argv[1:] else 7)
    for label, found in report["ratios"].items():
        mark = "pass" if found["ok"] else "FAIL"
        spread = f"{found['min']:.2f} .. {found['max']:.2f}"
        print(f"{mark}  {label:32} {found['median']:8.2f} ms ({spread})  {found['target']} ms")
    return 0 if all(found["ok"] for found in report["ratios"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
