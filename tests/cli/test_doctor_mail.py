"""What `penstock doctor` says of the mail server, on a real one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from benchmarks.rigs.smtp import SmtpSink

SECRET = "open-sesame"
USERS = {"ann": SECRET}


@pytest.fixture(autouse=True)
def free_port(monkeypatch):
    monkeypatch.setenv("PENSTOCK_PORT", "0")


@pytest.fixture
def told(run, monkeypatch):
    """`await told(url, to=...)` is what it finds."""

    async def told(url: str, **more: str) -> dict[str, Any]:
        monkeypatch.setenv("SMTP_URL", url)
        for name, value in more.items():
            monkeypatch.setenv(f"PENSTOCK_MAIL_{name.upper()}", value)
        result = await asyncio.to_thread(run, "doctor", "--json")
        assert SECRET not in result.output
        checks = json.loads(result.stdout)["checks"]
        (found,) = [check for check in checks if check["name"] == "mail"]
        return dict(found)

    return told


async def test_a_server_is_told_with_how_it_is_spoken_to_and_sent_nothing(told, authority):
    async with SmtpSink(tls=authority.issue("127.0.0.1"), users=USERS) as sink:
        url = f"smtp://ann:{SECRET}@127.0.0.1:{sink.port}?ssl_ca_certs={authority.ca}"

        found = await told(url, to="ops@example.com", **{"from": "penstock@example.com"})

        assert found["status"] == "ok", found
        assert f"127.0.0.1:{sink.port}: TLSv1." in found["detail"]
        assert found["detail"].endswith("signed in as ann; tells 1 of alert.raised")
        assert "MAIL" not in sink.commands


async def test_a_server_that_nobody_is_told_by_is_a_warning(told):
    async with SmtpSink() as sink:
        found = await told(f"smtp://127.0.0.1:{sink.port}")

        assert found["status"] == "warning"
        assert "no TLS, no user; nobody is told" in found["detail"]
        assert "PENSTOCK_MAIL_TO" in found["fix"]


@pytest.mark.parametrize(
    ("url", "detail", "fix"),
    [
        ("smtp://ann:sesame@127.0.0.1:{port}", "refuses user and password (535)", "SMTP_URL"),
        ("smtps://127.0.0.1:{port}", "do not agree on TLS", "correct SMTP_URL"),
        ("smtp://127.0.0.1:1", "cannot be reached", "correct SMTP_URL, or see the network"),
        ("smtp://ann:sesame@mail.example?starttls=off", "unencrypted", "leave starttls=off out"),
    ],
)
async def test_what_is_wrong_is_told_with_what_to_do(told, url: str, detail: str, fix: str):
    async with SmtpSink(users=USERS) as sink:
        found = await told(url.format(port=sink.port))

        assert found["status"] == "failed"
        assert detail in found["detail"]
        assert fix in found["fix"]
        assert "sesame" not in found["detail"]
