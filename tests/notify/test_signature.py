from __future__ import annotations

from base64 import b64decode

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from penstock.clock import SystemClock
from penstock.notify.signature import PREFIX, new_secret, signed

BODY = '{"type":"verdict.rejected","data":{"ü":1}}'.encode()
# The example of the reference implementations: a fixed secret, id, time and body.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def now() -> int:
    return int(SystemClock().now())


def test_the_signature_is_that_of_the_specification() -> None:
    headers = signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
        secrets=[SECRET],
    )

    assert headers["webhook-signature"] == SIGNATURE


def test_the_official_library_takes_the_signature() -> None:
    secret = new_secret()
    headers = signed("evt_1", timestamp=now(), body=BODY, secrets=[secret])

    assert Webhook(secret).verify(BODY, headers) == {"type": "verdict.rejected", "data": {"ü": 1}}


def test_both_secrets_are_good_while_two_sign() -> None:
    new, old = new_secret(), new_secret()
    headers = signed("evt_1", timestamp=now(), body=BODY, secrets=[new, old])

    for secret in (new, old):
        Webhook(secret).verify(BODY, headers)


@pytest.mark.parametrize("changed", ["body", "id", "time", "secret"])
def test_nothing_of_it_can_be_changed(changed: str) -> None:
    secret = new_secret()
    headers = signed("evt_1", timestamp=now(), body=BODY, secrets=[secret])
    if changed == "id":
        headers["webhook-id"] = "evt_2"
    if changed == "time":
        headers["webhook-timestamp"] = str(now() - 60)
    reader = Webhook(new_secret() if changed == "secret" else secret)

    with pytest.raises(WebhookVerificationError):
        reader.verify(BODY + b" " * (changed == "body"), headers)


def test_an_old_request_is_refused() -> None:
    secret = new_secret()
    headers = signed("evt_1", timestamp=now() - 3600, body=BODY, secrets=[secret])

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, headers)


def test_a_secret_has_256_bits() -> None:
    secret = new_secret()

    assert len(b64decode(secret.removeprefix(PREFIX))) == 32
    assert secret != new_secret()
