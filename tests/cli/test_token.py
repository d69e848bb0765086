from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from penstock.cli import opening


def verify(token: str):
    async def check(ring):
        await ring.refresh()
        return ring.verify(token)

    return opening.with_keys(check)


def test_a_new_token_opens_and_has_what_was_asked_for(run_json):
    made = run_json(
        *("token", "create", "--name", "ci", "--role", "viewer", "--rate-limit", "60"),
        *("--expires", "30d", "--prefix", "fist_", "--owner", "team"),
    )

    principal = verify(made["token"])

    assert made["token"].startswith("fist_")
    assert made["expires"] > made["created"]
    assert (principal.owner, principal.role) == ("team", "viewer")
    assert principal.limits.requests_per_minute == 60


def test_a_token_is_shown_when_it_is_made_and_never_again(run, home: Path):
    made = run("token", "create", "--name", "ci")
    token = made.stdout.split()[1]

    listed = run("token", "list", "--json")

    assert token.startswith("psk_")
    assert "cannot be shown again" in made.stderr
    assert token not in listed.stdout
    assert token.encode() not in b"".join(path.read_bytes() for path in home.iterdir())


def test_the_list_has_the_newest_key_first(run, run_json):
    for name in ("first", "second"):
        run_json("token", "create", "--name", name)

    table, document = run("token", "list").stdout, run_json("token", "list")

    assert {key["name"] for key in document} == {"first", "second"}
    assert table.splitlines()[0].split()[:3] == ["id", "name", "role"]
    assert len(table.splitlines()) == 3


def test_the_list_shows_what_a_key_may_use(run, run_json):
    run_json(
        *("token", "create", "--name", "ci", "--route-limit", "POST /v1/batches=10/h"),
        *("--budget-tokens", "5000", "--budget-period", "day"),
    )

    header, line = run("token", "list").stdout.splitlines()

    assert "route_limits" in header
    assert "POST /v1/batches=10/h" in line
    assert "5000 tokens a day" in line


def test_an_empty_list_says_how_to_make_a_key(run):
    assert "penstock token create --name NAME" in run("token", "list").stdout


def test_a_revoked_token_opens_nothing(run, run_json):
    made = run_json("token", "create", "--name", "gone")

    result = run("token", "revoke", made["id"])

    assert result.stdout == f"revoked {made['id']} (gone)\n"
    assert verify(made["token"]) is None
    assert run_json("token", "list")[0]["revoked"] is not None


def test_the_last_admin_key_is_kept(run, run_json):
    made = run_json("token", "create", "--name", "boss", "--role", "admin")

    result = run("token", "revoke", made["id"])

    assert result.exit_code == 1
    assert "is the last admin key" in result.stderr


def test_a_key_that_does_not_exist_is_exit_code_1(run):
    result = run("token", "revoke", "key_0")

    assert result.exit_code == 1
    assert result.stderr == "error: there is no key 'key_0'\n"


@pytest.mark.parametrize("value", ["30", "d", "0d", "-1d", "1y", "soon"])
def test_a_length_of_time_needs_a_number_and_a_unit(run, value, home: Path):
    result = run("token", "create", "--name", "x", f"--expires={value}")

    assert result.exit_code == 2
    assert "is no length of time; write 90s, 15m, 12h, 30d or 4w" in result.stderr
    assert not home.exists()


def test_limits_and_budgets_are_given_changed_and_lifted(run_json):
    limits = ("--route-limit", "POST /v1/batches=10/h", "--route-limit", "/v1/jobs=0")
    budget = ("--budget-tokens", "1000", "--budget-period", "day")
    made = run_json("token", "create", "--name", "x", "--rate-limit", "5", *limits, *budget)
    changed = run_json(
        *("token", "change", made["id"], "--lift", "rate-limit", "--lift", "budget"),
        *("--budget-micros", "7", "--route-limit", "/v1/jobs=3/s"),
    )

    limits = verify(made["token"]).limits

    assert made["route_limits"] == {"POST /v1/batches": "10/h", "/v1/jobs": "0"}
    assert (made["budget_tokens"], made["budget_period"]) == (1000, "day")
    assert changed["rate_limit"] is None
    assert changed["route_limits"] == {"/v1/jobs": "3/s"}
    assert (limits.budget.micros, limits.budget.tokens, limits.budget.period) == (7, None, "month")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "say what is to be different"),
        (("--route-limit", "/v1/jobs"), "write ROUTE=RATE"),
        (("--route-limit", "jobs=1/m"), "'jobs' is no route"),
        (("--route-limit", "/v1/jobs=1/w"), "'1/w' is no rate"),
    ],
)
def test_a_change_that_is_none_is_a_usage_error(run, run_json, words, told):
    made = run_json("token", "create", "--name", "x")

    result = run("token", "change", made["id"], *words)

    assert result.exit_code == 2
    assert told in result.stderr


def test_a_prefix_that_cannot_be_used_is_a_usage_error(run):
    result = run("token", "create", "--name", "x", "--prefix", "Fist")

    assert result.exit_code == 2
    assert "error: the prefix 'Fist' cannot be used" in result.stderr


def test_a_command_is_on_the_audit_log(run_json):
    made = run_json("token", "create", "--name", "ci")
    run_json("token", "revoke", made["id"])

    async def look(runtime):
        return await runtime.audit.page(subject=made["id"])

    entries = opening.with_runtime(look)
    assert [(each.actor, each.action) for each in entries] == [
        ("cli", "key.revoked"),
        ("cli", "key.created"),
    ]


def test_more_keys_than_a_page_are_all_listed(run, monkeypatch):
    monkeypatch.setattr("penstock.cli.token.PAGE", 2)

    async def make(ring):
        await asyncio.gather(*(ring.create(str(n), actor="test", role="viewer") for n in range(5)))

    opening.with_keys(make)

    assert len(json.loads(run("token", "list", "--json").stdout)) == 5
