"""The layer in a FastAPI application: the three lines marked here, nothing else changes."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.testclient import TestClient

import penstock  # 1

app = FastAPI()
penstock.install(app)  # 2: request ids, Server-Timing, metrics
asked = 0


@app.get("/summary/{topic}")
@penstock.cached(ttl="1h")  # 3: computed once, whoever asks meanwhile
async def summarise(topic: str) -> dict[str, str]:
    """Stands for a slow model."""
    global asked
    asked += 1
    return {"topic": topic, "summary": f"All there is to say about {topic}."}


def main() -> None:
    with TestClient(app) as client:
        client.get("/summary/weirs")
        answer = client.get("/summary/weirs")
    print(answer.json()["summary"])
    print(f"requests: 2, model asked: {asked}")
    print(f"request id: {'x-request-id' in answer.headers}")
    print(f"timing: {answer.headers['server-timing'].split(';')[0]}")


if __name__ == "__main__":
    main()
