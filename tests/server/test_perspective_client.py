"""Google's own API client, unchanged, against a server in a process of its own."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from tests.conftest import ADMIN, Live

pytestmark = pytest.mark.slow

OLDER = "penstock-moderation-1+06589f2a"
INSULT = "You are a stupid idiot."
SECRET = "a-key-that-no-pattern-knows-0123456789-ABC"


def build(url: str, key: str = ADMIN) -> Any:
    return discovery.build(
        "commentanalyzer",
        "v1alpha1",
        developerKey=key,
        discoveryServiceUrl=f"{url}/$discovery/rest?version=v1alpha1",
        static_discovery=False,
    )


@pytest.fixture(scope="module")
def service(shared_server: Live) -> Iterator[Any]:
    with build(shared_server.url) as service:
        yield service


def test_a_comment_is_analysed(service: Any) -> None:
    body = {
        "comment": {"text": INSULT},
        "requestedAttributes": {"TOXICITY": {}, "INSULT": {}},
        "languages": ["en"],
        "clientToken": "c-1",
        "spanAnnotations": True,
    }

    answer = service.comments().analyze(body=body).execute()

    assert answer["attributeScores"]["TOXICITY"]["summaryScore"]["value"] > 0.9
    assert answer["attributeScores"]["INSULT"]["spanScores"][0]["end"] == len(INSULT)
    assert answer["clientToken"] == "c-1"


def test_an_older_model_is_named(service: Any) -> None:
    body = {"comment": {"text": INSULT}, "requestedAttributes": {"TOXICITY": {}}}

    by_body = service.comments().analyze(body={**body, "model": OLDER}).execute()
    by_parameter = service.comments().analyze(body=body, model=OLDER).execute()

    assert by_body["modelVersion"] == by_parameter["modelVersion"] == OLDER


def test_a_score_is_suggested(service: Any) -> None:
    body = {
        "comment": {"text": INSULT},
        "attributeScores": {"TOXICITY": {"summaryScore": {"value": 1.0}}},
        "clientToken": "c-2",
    }

    assert service.comments().suggestscore(body=body).execute()["clientToken"] == "c-2"


def test_another_language_is_the_error_that_its_users_look_for(service: Any) -> None:
    body = {
        "comment": {"text": "Ich habe heute leider keine Zeit."},
        "requestedAttributes": {"TOXICITY": {}},
    }

    with pytest.raises(HttpError) as caught:
        service.comments().analyze(body=body).execute()

    assert caught.value.status_code == 400
    assert "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE" in str(caught.value)
    assert caught.value.reason == "Attribute TOXICITY does not support request languages: de"


def test_an_unknown_attribute_is_named(service: Any) -> None:
    body = {"comment": {"text": INSULT}, "requestedAttributes": {"FLIRTATION": {}}}

    with pytest.raises(HttpError, match="Unknown requested attribute: FLIRTATION"):
        service.comments().analyze(body=body).execute()


def test_a_wrong_key_is_refused(shared_server: Live) -> None:
    with build(shared_server.url, key="psk_wrong") as wrong, pytest.raises(HttpError) as caught:
        wrong.comments().analyze(body={}).execute()

    assert caught.value.status_code == 401
    assert caught.value.error_details


def test_a_key_in_an_address_is_written_nowhere(
    serve: Callable[..., AbstractContextManager[Live]], tmp_path: Path
) -> None:
    """Every answer, every line and every file of a talkative server, for right and wrong keys."""
    wrong = SECRET[::-1]
    bodies = (None, b"{", b'{"comment": {"text": "hi"}}', b"x" * 2_000_000)
    paths = (
        *("v1alpha1/comments:analyze", "v1alpha1/comments:nonsense", "v1alpha1/../x"),
        *("$discovery/rest", "v1/moderations"),
    )
    with serve(PENSTOCK_ADMIN_KEY=SECRET, PENSTOCK_LOG_LEVEL="debug") as live:
        told = [
            _ask(f"{live.url}/{path}?alt=json&key={key}&%6bey={key}", body)
            for key, path, body in product((SECRET, wrong), paths, bodies)
        ]
        answered = _ask(
            f"{live.url}/v1alpha1/comments:analyze?key={SECRET}",
            json.dumps(
                {"comment": {"text": INSULT}, "requestedAttributes": {"TOXICITY": {}}}
            ).encode(),
        )
        told.append(_ask(f"{live.url}/api/metrics", None, {"Authorization": f"Bearer {SECRET}"}))
        assert "attributeScores" in answered

    written = "".join(told) + "".join(
        path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()
    )
    assert "http.request" in written  # the log that was looked through is one
    assert not re.findall(f"{SECRET}|{wrong}", written)


def _ask(url: str, body: bytes | None, headers: dict[str, str] | None = None) -> str:
    request = urllib.request.Request(
        url, data=body, headers={"Content-Type": "application/json", **(headers or {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return f"{reply.headers}{reply.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.headers}{error.read().decode()}"
    except (urllib.error.URLError, ConnectionError):
        return ""  # a body that is too large is not read to its end
