"""Moderates through the official OpenAI SDK: `python examples/openai_sdk.py [URL] [KEY]`.

Without arguments PENSTOCK_URL and PENSTOCK_KEY are used; a server is started by `make serve`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from openai import OpenAI

TEXTS = ["Have a lovely day, everyone.", "I will find you and kill you tonight."]


def main() -> None:
    url, key = [*sys.argv[1:], "", ""][:2]
    url = url or os.environ.get("PENSTOCK_URL", "http://127.0.0.1:8000")
    key = key or os.environ.get("PENSTOCK_KEY", "")
    with OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        for _ in range(2):
            answer = client.moderations.create(input=TEXTS)
            for text, result in zip(TEXTS, answer.results, strict=True):
                ours: Any = result.to_dict()["penstock"]
                flags = [name for name, flag in result.categories.to_dict().items() if flag]
                print(f"{text[:30]:32}{ours['decision']:10}{', '.join(flags) or '-'}")
                print(f"{'':32}from {ours['receipt']['source']}, policy {ours['policy']['id']}")


if __name__ == "__main__":
    main()
