"""The JavaScript client against a real server: in Node by both module systems, and in Chromium."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.clients.javascript.conftest import Browser, Run
from tests.conftest import ADMIN, Live

pytestmark = pytest.mark.slow

COMPAT = Path(__file__).parents[3] / "compat"


TYPES = {
    "cleared": "Cleared",
    "first": "Moderation",
    "found": "Moderation",
    "verdict": "Verdict",
    "health": "Health",
    "metrics": "Metrics",
    "cache": "CacheStats",
    "status": "BatchStatus",
    "batch": "BatchInfo",
    "line": "BatchResult",
    "job": "JobInfo",
}


@pytest.fixture(params=["esm", "commonjs", "chromium"])
def seen(request: pytest.FixtureRequest, backend: Live) -> dict[str, Any]:
    """What the tour saw: the same file in every place."""
    if request.param == "chromium":
        browser: Browser = request.getfixturevalue("browser")
        found = browser.open("page.html?" + urlencode({"url": backend.url, "key": ADMIN}))
    else:
        node: Run = request.getfixturevalue("node")
        done = node("run.mjs", request.param, backend.url, ADMIN)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
    assert "failure" not in found, found
    return found


def test_the_client_does_everything_everywhere(seen: dict[str, Any]) -> None:
    moderates(seen)
    watches_the_server(seen)
    works_through_batches(seen)
    follows_jobs(seen)
    tells_errors(seen)


def moderates(seen: dict[str, Any]) -> None:
    first, again = seen["first"], seen["again"]
    assert (first["finalDecision"], first["fromCache"]) == ("A", False)
    assert (again["finalDecision"], again["fromCache"]) == ("A", True)
    assert 0 <= first["inappropriateProbability"] <= 20
    assert seen["found"]["moderationId"] == first["moderationId"]
    assert seen["verdict"]["decision"] == "rejected"
    assert seen["verdict"]["categoryScores"]["harassment/threatening"] > 0.8
    assert seen["verdicts"] == ["approved", "rejected"]


def watches_the_server(seen: dict[str, Any]) -> None:
    assert seen["health"]["checks"]["database"]["status"] == "healthy"
    assert seen["metrics"]["requests"]["total"] > 0
    assert seen["metrics"]["responseTimeSeconds"]["p95"] > 0
    assert seen["cache"]["tiers"]["memory"]["sizeBytes"] > 0
    assert (seen["connected"], seen["stranger"]) == (True, False)


def works_through_batches(seen: dict[str, Any]) -> None:
    assert seen["inline"] == ["A", "R", "A"]
    assert seen["background"] == ["A"] * 40
    assert seen["percents"] == sorted(seen["percents"])
    assert seen["percents"][-1] == 100
    assert (seen["status"]["status"], seen["status"]["processedItems"]) == ("completed", 40)
    assert seen["lines"] == [[f"my_{index}", 200, False] for index in range(3)]
    assert seen["pages"] == [2, 1]
    assert seen["batch"]["requestCounts"] == {"total": 3, "completed": 3, "failed": 0}
    assert seen["batch"]["metadata"] == {"my_key": "kept"}
    assert seen["told"] == sorted(seen["told"])


def follows_jobs(seen: dict[str, Any]) -> None:
    assert len(seen["listed"]) >= 2
    assert {job["state"] for job in seen["listed"]} == {"completed"}
    assert seen["job"]["id"] == seen["listed"][0]["id"]
    assert seen["job"]["attempt"] == 1


def tells_errors(seen: dict[str, Any]) -> None:
    errors = seen["errors"]
    assert errors["empty"]["name"] == "InvalidInputError"
    assert (errors["wrong"]["name"], errors["wrong"]["code"]) == (
        "AuthenticationError",
        "unauthorized",
    )
    assert errors["gone"]["name"] == "NotFoundError"
    assert all(error["known"] for error in errors.values())
    assert seen["cancelJob"]["name"] == "ConflictError"
    assert seen["cancelDone"]["name"] == "ConflictError"


def test_the_types_fit_what_the_server_answers(
    node: Run, backend: Live, package: Path, tmp_path: Path
) -> None:
    """Every answer as a literal of its type: tsc refuses a missing field and one too many."""
    seen = json.loads(node("run.mjs", "esm", backend.url, ADMIN).stdout)
    types = ", ".join(sorted(set(TYPES.values())))
    literals = [
        f'import type {{ {types} }} from "{package}/src/index.js";',
        *(
            f"export const {name}: {kind} = {json.dumps(seen[name])};"
            for name, kind in TYPES.items()
        ),
    ]
    (tmp_path / "fit.ts").write_text("\n".join(literals), "utf-8")
    settings = {"extends": f"{package}/tsconfig.json", "include": ["fit.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings), "utf-8")

    done = node(f"{package}/node_modules/typescript/bin/tsc", "--project", str(tmp_path))

    assert done.returncode == 0, done.stdout


def test_the_old_snippet_runs_from_its_old_path(node: Run, backend: Live) -> None:
    """It needs an async function around it: CommonJS has no `await` outside of one."""
    snippet = (Path(__file__).parent / "fist-snippet.js").read_text("utf-8")
    snippet = snippet.replace("fist_your_token_here", ADMIN)
    snippet = snippet.replace("http://localhost:8000", backend.url)

    done = node("-", cwd=COMPAT, text=f"(async () => {{\n{snippet}\n}})();")

    assert done.returncode == 0, done.stderr
    decision, confidence, processed, job = done.stdout.splitlines()
    assert decision in {"Decision: A", "Decision: M", "Decision: R"}
    assert confidence.startswith("Confidence: ")
    assert confidence.endswith("%")
    assert processed == "Processed 3 items"
    assert job.startswith("Job ID: batch_")


REDIRECTED = """
import { createServer } from "node:http";
import { Penstock } from "penstock-client";

async function listening(answer) {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((ready) => server.once("listening", ready));
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

const seen = [];
const other = await listening((request, response) => {
  seen.push(request.headers);
  response.end("{}");
});
const ours = await listening((request, response) => {
  response.writeHead(307, { location: other.url }).end();
});
const penstock = new Penstock({ baseUrl: ours.url, apiKey: "psk_secret" });
const error = await penstock.getHealth({ headers: { "x-team": "red" } }).catch((error) => error);
console.log(JSON.stringify([error.name, error.status, seen.length]));
for (const { server } of [ours, other]) {
  server.closeAllConnections();
  server.close();
}
"""


def test_a_redirect_does_not_lead_the_key_to_another_host(node: Run, package: Path) -> None:
    done = node("--input-type=module", "-", cwd=package, text=REDIRECTED)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["APIError", 307, 0]


def test_the_how_to_runs(node: Run, backend: Live, root: Path) -> None:
    """Its ```js blocks, one after the other, as one module."""
    page = (root / "docs" / "howto" / "javascript-client.md").read_text("utf-8")
    blocks = [part.split("```")[0] for part in page.split("```js\n")[1:]]
    address = {"PENSTOCK_URL": backend.url, "PENSTOCK_KEY": ADMIN}

    done = node(
        *("--input-type=module", "-"),
        cwd=root / "clients" / "javascript",
        env=address,
        text="\n".join(blocks),
    )

    assert blocks
    assert done.returncode == 0, done.stderr
