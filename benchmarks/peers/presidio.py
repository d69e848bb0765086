"""Presidio's pattern recognisers, driven line by line: `python presidio.py` in any environment.

Takes {"texts": [...], "calls": n, "batches": n} on the first line; every further line is a round,
answered with microseconds of CPU per text (best batch). The recognisers are called directly: no
language model is loaded and no context is weighed, which is the fastest that they can be.
"""

from __future__ import annotations

import json
import sys
import time


def main() -> None:
    """Answer rounds until the input ends."""
    recognisers = _recognisers()
    order = json.loads(sys.stdin.readline())
    for text in order["texts"]:
        _masked(recognisers, text)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        times = [
            min(_batch(recognisers, text, order["calls"]) for _ in range(order["batches"]))
            for text in order["texts"]
        ]
        print(json.dumps(times), flush=True)


def _recognisers() -> list:
    import tldextract

    # Else its first use asks the internet for the list of suffixes; the package brings one.
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        IbanRecognizer,
        IpRecognizer,
        PhoneRecognizer,
        UrlRecognizer,
    )

    made = (CreditCardRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer)
    return [kind() for kind in (*made, UrlRecognizer)]


def _batch(recognisers: list, text: str, calls: int) -> float:
    started = time.thread_time_ns()
    for _ in range(calls):
        _masked(recognisers, text)
    return (time.thread_time_ns() - started) / calls / 1000


def _masked(recognisers: list, text: str) -> str:
    for each in recognisers:
        for found in each.analyze(text, each.supported_entities, None):
            text = text[: found.start] + "*" * (found.end - found.start) + text[found.end :]
    return text


if __name__ == "__main__":
    main()
