"""`penstock cases` on a data folder, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from penstock.runtime import open_runtime
from penstock.services.moderation.referral import Referral
from penstock.settings import Settings

TEXTS = {"mod_low": ("a mild remark", 0.3), "mod_high": ("a harsh remark", 0.7)}


@pytest.fixture(autouse=True)
def installation(home: Path) -> None:
    """Has two cases."""
    refer(home, TEXTS)


def refer(home: Path, texts: Mapping[str, tuple[str, float]]) -> None:
    """Let texts be referred by a process of its own."""

    async def fill() -> None:
        async with open_runtime(Settings(home=home, log_level="error"), workers=0) as runtime:
            for verdict_id, (text, risk) in texts.items():
                await runtime.review.refer(
                    Referral(
                        verdict_id=verdict_id,
                        owner="team",
                        key_id="key_app",
                        user_id=None,
                        content_key=f"moderation:{verdict_id}",
                        content_hash=sha256(text.encode()).hexdigest(),
                        text=text,
                        decision="review",
                        risk=risk,
                        category="harassment",
                        reason="harassment beyond the review threshold",
                        retention_seconds=1e6,
                        sla_seconds=3600.0,
                        created_at=int(runtime.clock.now() * 1000),
                    )
                )

    asyncio.run(fill())


def test_cases_are_listed_by_urgency(run, run_json):
    found = run_json("cases", "list")
    told = run("cases", "list", "--in-time").stdout.splitlines()

    assert [case["risk"] for case in found] == [0.7, 0.3]
    assert told[0].split()[:4] == ["id", "state", "kind", "risk"]
    assert [line.split()[0] for line in told[1:]] == [case["id"] for case in found]
    assert "in 1.0 h" in told[1] or "in 60.0 min" in told[1] or "in 59." in told[1]


def test_a_case_is_worked_on_from_a_terminal(run, run_json):
    case = run_json("cases", "next", "--claim")
    run("cases", "comment", case["id"], "looked at twice")

    decided = run("cases", "decide", case["id"], "rejected", "--note", "house rules")

    assert (case["state"], case["assignee"]) == ("claimed", "cli")
    assert [content["content"] for content in case["contents"]] == ["a harsh remark"]
    assert decided.stdout == f"{case['id']} is decided: rejected\n"
    file = run_json("cases", "show", case["id"])
    assert not file["effects_pending"]
    assert file["contents"][0]["content_note"] is None
    assert [(event["action"], event["actor"]) for event in file["events"]] == [
        ("opened", "penstock"),
        ("claimed", "cli"),
        ("commented", "cli"),
        ("decided", "cli"),
    ]
    told = run("cases", "show", case["id"]).stdout
    assert "house rules" in told
    assert sha256(b"a harsh remark").hexdigest() in told


def test_what_may_not_be_is_said_in_one_line(run, run_json):
    case = run_json("cases", "next")
    run("cases", "decide", case["id"], "approved")

    result = run("cases", "decide", case["id"], "rejected")
    unknown = run("cases", "claim", "case_none")

    assert (result.exit_code, unknown.exit_code) == (1, 1)
    assert result.stderr == f"error: {case['id']} was decided by cli: approved\n"
    assert unknown.stderr == "error: there is no case 'case_none'\n"


def test_several_contents_are_approved_with_a_flag_after_a_claim(run, run_json, home):
    refer(home, {"mod_loud": ("A HARSH remark!", 0.8)})
    case = run_json("cases", "next")

    refused = run("cases", "decide", case["id"], "approved")
    run("cases", "claim", case["id"])
    told = run("cases", "show", case["id"]).stdout
    decided = run("cases", "decide", case["id"], "approved", "--group")

    assert (refused.exit_code, case["distinct"]) == (1, 2)
    assert "holds 2 distinct contents" in refused.stderr
    assert "a harsh remark" in told
    assert "A HARSH remark!" in told
    assert decided.stdout == f"{case['id']} is decided: approved\n"


def test_the_workload_is_shown(run, run_json):
    load = run_json("cases", "workload")
    told = run("cases", "workload").stdout

    assert (load["open"], load["opened_per_day"]["last_7_days"]) == (2, 2.0)
    assert "backlog in 7, 30 days" in told
    assert "harassment" in told


def test_examples_are_lines_of_json(run, run_json):
    nothing = run("cases", "examples")

    assert (nothing.exit_code, nothing.stdout) == (0, "")


def test_without_cases_next_says_so(run, run_json):
    for case in run_json("cases", "list"):
        run("cases", "decide", case["id"], "approved")

    result = run("cases", "next")

    assert result.exit_code == 0
    assert result.stderr == "nothing waits for a decision\n"
    assert json.loads(run("cases", "list", "--state", "decided", "--json").stdout)
