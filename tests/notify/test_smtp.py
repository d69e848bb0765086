from __future__ import annotations

import asyncio

import pytest

from benchmarks.rigs.certificates import Authority
from benchmarks.rigs.smtp import SmtpSink
from penstock.errors import ConfigurationError
from penstock.notify.smtp import Server, Unsent

SECRET = "open sesame/@"
QUOTED = "open%20sesame%2F%40"
USERS = {"ann@example.com": SECRET}
WHO = f"ann%40example.com:{QUOTED}"
FROM, TO = "penstock@example.com", "ops@example.com"
MESSAGE = b"Subject: hello\r\n\r\n.a line that begins with a dot\r\n"


async def send(server: Server) -> None:
    await server.send(MESSAGE, sender=FROM, to=TO)


async def refused(server: Server) -> Unsent:
    with pytest.raises(Unsent) as caught:
        await send(server)
    assert SECRET not in str(caught.value)
    return caught.value


async def test_a_message_arrives_as_it_was() -> None:
    async with SmtpSink() as sink:
        await send(Server(f"smtp://127.0.0.1:{sink.port}"))

        (letter,) = await sink.until(1)
        assert (letter.sender, letter.to) == (FROM, [TO])
        assert letter.data == MESSAGE
        assert not letter.secured


async def test_where_the_server_offers_tls_it_is_spoken_and_the_user_signs_in(
    authority: Authority,
) -> None:
    async with SmtpSink(tls=authority.issue("127.0.0.1"), users=USERS) as sink:
        server = Server(f"smtp://{WHO}@127.0.0.1:{sink.port}?ssl_ca_certs={authority.ca}")
        await send(server)

        (letter,) = await sink.until(1)
        assert letter.secured
        assert letter.user == "ann@example.com"
        told = await server.check()
        assert told.startswith(f"127.0.0.1:{sink.port}: TLSv1.")
        assert told.endswith("signed in as ann@example.com")
        assert len(sink.letters) == 1


async def test_tls_from_the_first_byte(authority: Authority) -> None:
    async with SmtpSink(tls=authority.issue("127.0.0.1"), implicit=True, users=USERS) as sink:
        await send(Server(f"smtps://{WHO}@127.0.0.1:{sink.port}?ssl_ca_certs={authority.ca}"))

        (letter,) = await sink.until(1)
        assert (letter.secured, letter.user) == (True, "ann@example.com")


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_of_nobody_known_ends_it_before_a_word_is_said(
    authority: Authority, stranger: Authority, implicit: bool
) -> None:
    scheme = "smtps" if implicit else "smtp"
    async with SmtpSink(tls=stranger.issue("127.0.0.1"), implicit=implicit, users=USERS) as sink:
        url = f"{scheme}://{WHO}@127.0.0.1:{sink.port}?ssl_ca_certs={authority.ca}"

        error = await refused(Server(url))

        assert "shows a certificate that is not trusted" in error.detail
        assert "?ssl_ca_certs=/path/ca.pem" in error.detail
        assert not error.permanent
        assert not {"AUTH", "MAIL"} & set(sink.commands)


async def test_a_server_that_must_speak_tls_and_does_not_is_told_no_password() -> None:
    async with SmtpSink(users=USERS) as sink:
        server = Server(f"smtp://{WHO}@127.0.0.1:{sink.port}?starttls=required")

        error = await refused(server)

        assert "STARTTLS" in error.detail
        assert not {"AUTH", "MAIL"} & set(sink.commands)


async def test_starttls_can_be_left_out(authority: Authority) -> None:
    async with SmtpSink(tls=authority.issue("elsewhere")) as sink:
        await send(Server(f"smtp://127.0.0.1:{sink.port}?starttls=off"))

        (letter,) = await sink.until(1)
        assert not letter.secured


@pytest.mark.parametrize(
    ("url", "required"),
    [
        ("smtp://mail.example", None),
        ("smtp://ann:secret@mail.example", True),
        ("smtp://ann:secret@mail.example?starttls=auto", True),
        ("smtp://ann:secret@localhost", None),
        ("smtp://ann:secret@127.0.0.1", None),
        ("smtp://ann:secret@[::1]:25", None),
        ("smtp://ann:secret@10.0.0.1:25", True),
        ("smtps://ann:secret@mail.example", False),
    ],
)
def test_a_password_leaves_this_machine_over_tls_alone(url: str, required: bool | None) -> None:
    assert Server(url)._starttls is required


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://mail.example", "write smtp://user:password@mail.example:587"),
        ("smtp://", "write smtp://user:password@mail.example:587"),
        ("smtp://mail.example:0", "its port is no number from 1 to 65535"),
        ("smtp://mail.example:99999", "its port is no number from 1 to 65535"),
        ("smtp://mail.example:25,second:25", "write smtp://user:password@mail.example:587"),
        ("smtp://mail.example/inbox", "write smtp://user:password@mail.example:587"),
        ("smtp://:sesame@mail.example", "has a user or a password alone"),
        ("smtp://ann:sesame/1@mail.example", "percent-encoded"),
        ("smtp://ann:sesame@mail.example?starttls=off", "would send the password unencrypted"),
        ("smtp://mail.example?starttls=maybe", "starttls is one of"),
        ("smtps://mail.example?starttls=required", "means nothing with smtps"),
        ("smtp://mail.example?verify=no", "has the option 'verify', which nobody reads"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_to_write(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        Server(url)

    assert "sesame" not in str(caught.value)


async def test_a_wrong_password_is_permanent_and_nothing_of_it_is_told() -> None:
    async with SmtpSink(users=USERS) as sink:
        sink.script("AUTH", *2 * [f"535 not {SECRET}"])

        error = await refused(Server(f"smtp://{WHO}@127.0.0.1:{sink.port}"))

        place = f"127.0.0.1:{sink.port}"
        assert error.detail == f"{place} refuses user and password (535); correct SMTP_URL"
        assert error.permanent
        assert error.__suppress_context__


@pytest.mark.parametrize("verb", ["CONNECT", "MAIL", "RCPT", "DATA", "BODY"])
@pytest.mark.parametrize(("code", "permanent"), [(451, False), (421, False), (550, True)])
async def test_what_the_server_answers_says_whether_to_try_again(
    verb: str, code: int, permanent: bool
) -> None:
    async with SmtpSink() as sink:
        sink.script(verb, f"{code} no; \x1b[31m room" + 300 * "!")

        error = await refused(Server(f"smtp://127.0.0.1:{sink.port}"))

        assert error.permanent is permanent
        assert f"answered {code} no,  [31m room!!!" in error.detail
        assert len(error.detail) < 300
        assert not sink.letters


async def test_no_server_at_all_is_a_fault_that_passes() -> None:
    async with SmtpSink() as sink:
        pass

    error = await refused(Server(f"smtp://127.0.0.1:{sink.port}"))

    assert "cannot be reached" in error.detail
    assert not error.permanent


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.notify.smtp.ATTEMPT_SECONDS", 0.3)
    async with SmtpSink() as sink:
        sink.script("MAIL", "hang")

        error = await refused(Server(f"smtp://127.0.0.1:{sink.port}"))

        assert "did not answer within 0.3 s" in error.detail
        assert not error.permanent


async def test_a_check_of_a_server_that_says_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.notify.smtp.CHECK_SECONDS", 0.1)
    async with SmtpSink() as sink:
        sink.script("CONNECT", "hang")

        with pytest.raises(Unsent, match=r"did not answer within 0\.1 s"):
            await Server(f"smtp://127.0.0.1:{sink.port}").check()


async def test_what_was_taken_stays_so_whatever_becomes_of_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.notify.smtp.FAREWELL_SECONDS", 0.1)
    async with SmtpSink() as sink, asyncio.timeout(60):
        sink.script("QUIT", "hang", "421 too late")

        await send(Server(f"smtp://127.0.0.1:{sink.port}"))
        await send(Server(f"smtp://127.0.0.1:{sink.port}"))

        assert len(sink.letters) == 2
