"""Two API servers and a Celery worker that share Redis and PostgreSQL, and no folder."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from benchmarks.rigs.servers import wait_until
from tests.conftest import ADMIN
from tests.scale.conftest import QUEUES, Cluster

pytestmark = pytest.mark.slow

KIND = "Thank you all for the lovely evening, the soup was delicious."


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> httpx.Client:
    return cluster.server("here")


@pytest.fixture(scope="module")
def there(cluster: Cluster, here: httpx.Client) -> httpx.Client:
    return cluster.server("there")


@pytest.fixture(scope="module")
def worker(cluster: Cluster, here: httpx.Client) -> None:
    cluster.celery("worker", "worker", "-Q", QUEUES, "--concurrency", "1", "--loglevel", "warning")


def moderate(client: httpx.Client, text: str, **headers: str) -> dict:
    reply = client.post("/v1/moderations", json={"input": text}, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()["results"][0]


def source(result: dict) -> str:
    return result["penstock"]["receipt"]["source"]


def new_key(client: httpx.Client, **fields: object) -> dict[str, str]:
    made = client.post("/v1/keys", json={"name": "k", "role": "operator", **fields})
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['token']}"}


def until(holds: Callable[[], object]) -> None:
    wait_until(holds)


def test_what_one_has_read_the_other_finds_in_redis(here: httpx.Client, there: httpx.Client):
    here.post("/v1/cache/clear", json={})  # what other tests left there
    first = moderate(here, KIND)
    until(lambda: here.get("/v1/cache").json()["tiers"]["redis"]["entries"])

    assert source(first) == "local"
    assert source(moderate(there, KIND)) == "redis"
    assert source(moderate(there, KIND)) == "memory"


def test_a_verdict_of_one_is_on_record_for_the_other(here: httpx.Client, there: httpx.Client):
    verdict = moderate(here, f"{KIND} On record.")["penstock"]["id"]

    assert there.get(f"/v1/verdicts/{verdict}").json()["id"] == verdict


def test_a_key_made_here_works_there_until_it_is_revoked(here: httpx.Client, there: httpx.Client):
    key = new_key(here)
    until(lambda: there.get("/v1/keys/current", headers=key).status_code == 200)
    me = there.get("/v1/keys/current", headers=key).json()

    here.delete(f"/v1/keys/{me['key_id']}")

    assert me["role"] == "operator"
    until(lambda: there.get("/v1/keys/current", headers=key).status_code == 401)


def test_what_is_cleared_here_is_a_miss_there(here: httpx.Client, there: httpx.Client):
    text = f"{KIND} To be cleared."
    moderate(there, text)
    hot = moderate(there, text)

    assert here.post("/v1/cache/clear", json={"namespace": "moderation"}).status_code == 200

    assert source(hot) == "memory"
    until(lambda: source(moderate(there, text)) != "memory" or None)


def test_a_word_listed_here_counts_there(here: httpx.Client, there: httpx.Client):
    text = f"{KIND} With plumbago."
    before = moderate(there, text)["penstock"]["decision"]

    made = here.post("/v1/lists", json={"name": "words", "kind": "block"}).json()
    here.post(f"/v1/lists/{made['id']}/entries", json={"entries": [{"value": "plumbago"}]})

    assert before == "approved"
    until(lambda: moderate(there, text)["penstock"]["decision"] == "rejected")


def test_a_small_limit_is_exact_over_both(here: httpx.Client, there: httpx.Client):
    key = new_key(here, rate_limit=10)

    until(lambda: there.get("/v1/models", headers=key).status_code != 401)
    statuses = [
        client.get("/v1/models", headers=key).status_code
        for _ in range(10)
        for client in (here, there)
    ]

    assert statuses.count(200) == 9  # and the one with which the other learnt of the key
    assert statuses.count(429) == 11


@pytest.mark.usefixtures("worker")
def test_a_batch_submitted_here_is_watched_and_read_there(here: httpx.Client, there: httpx.Client):
    requests = [
        {"custom_id": str(number), "body": {"input": f"Parcel {number}."}} for number in range(40)
    ]
    batch = here.post(
        "/v1/batches", json={"endpoint": "/v1/moderations", "requests": requests}
    ).json()

    with there.stream("GET", f"/v1/batches/{batch['id']}/events") as events:
        lines = [line for line in events.iter_lines() if line.startswith("data:")]
        seen = [json.loads(line.removeprefix("data:")) for line in lines]

    assert seen[-1]["status"] == "completed", seen[-1]
    assert there.get(f"/v1/batches/{batch['id']}").json()["status"] == "completed"


@pytest.mark.usefixtures("worker")
def test_a_job_is_the_same_on_both(here: httpx.Client, there: httpx.Client):
    requests = [{"custom_id": "1", "body": {"input": f"{KIND} As a job."}}]
    here.post("/v1/batches", json={"endpoint": "/v1/moderations", "requests": requests})

    until(lambda: there.get("/v1/jobs").json()["items"])
    job = there.get("/v1/jobs").json()["items"][0]

    assert here.get(f"/v1/jobs/{job['id']}").json()["task"] == job["task"]


@pytest.mark.usefixtures("here", "there")
def test_neither_opened_a_job_file_or_a_database_of_its_own(cluster: Cluster):
    for name in ("here", "there"):
        names = {path.name for path in (cluster.folder / name).iterdir()}
        assert not names & {"penstock.db", "tasks.db", "hub-1.bin"}
    assert ADMIN


@pytest.mark.usefixtures("worker")
def test_any_server_tells_what_the_worker_has_counted(here: httpx.Client, there: httpx.Client):
    def counted(client: httpx.Client, scope: str) -> int:
        told = client.get("/api/metrics", params={"scope": scope}).json()
        return told["batch"]["items"] + told["jobs"]["completed"]

    requests = [{"custom_id": str(n), "body": {"input": f"{KIND} Counted {n}."}} for n in range(7)]
    before = counted(there, "all")
    here.post("/v1/batches", json={"endpoint": "/v1/moderations", "requests": requests})

    until(lambda: counted(there, "all") >= before + len(requests) + 1)
    assert counted(here, "process") == counted(there, "process") == 0
