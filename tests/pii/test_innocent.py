"""What looks like something personal and is nothing: nothing certain may be found in it."""

from __future__ import annotations

import pytest

from penstock.pii import find

NOTHING = [
    "It costs $1,299.99, or 1 000 000 USD in 2023-2024.",
    "See 2024-01-15 10:30:45 and 15.01.2024 at 10:30.",
    "15/01/2024 - 28/02/2024, rows 20240115 20240228",
    "Order #112-3456789-0123456 shipped; invoice 20240115-0042.",
    "Order number 2125550134 was sent, ref. 4155552671.",
    "tracking 9400111899223197428490",
    "UUID 550e8400-e29b-41d4-a716-446655440000",
    "sha e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "commit 1234567 and 7654321abc",
    "meet at 5 dot",
    "let's meet at the corner dot, at noon dot com",
    "look at example dot com",
    "shop at example.com today",
    "I work at Google and look at Yahoo",
    "route 66 and highway 101",
    "we won 3-2 4-1 2-2 and 21-19, 21-17, 15-12",
    "6-4 7-6 6-3 was the score of 3 sets",
    "git@github.com:user/repo.git",
    "git clone https://user:pass@example.com/x.git",
    "@media (max-width: 600px) { .a { color: #123456; } } @import url(x)",
    "@font-face { } @keyframes spin { } @supports (x) {}",
    "npm i @types/node lodash@4.17.21 react@latest",
    "logo@2x.png and icon@3x.webp",
    '@app.route("/x")\ndef f(): ...\n@property\n@staticmethod',
    "@Override public void run() {} @param x the value @return it",
    "x = 3.14159265358979 + 12345678 * 2 ** 10",
    "pi is 3.1415926535 8979323846",
    "(212 + 555) * 1234 = 946478",
    "2^31-1 = 2147483647 and 2^32 = 4294967296",
    "f(2125550134) % 97 -> 0x7eadbeef",
    "ISBN 978-3-16-148410-0 and 0-306-40615-2",
    "version 1.2.3.4, v10.0.19041.1 and python 3.11.7",
    "Chrome/99.0.4844.51 Safari/537.36",
    "section 1.2.3.4 and §4.3.2.1",
    "127.0.0.1:8080 and 0.0.0.0/0 and 255.255.255.0",
    "999.999.999.999",
    "std::vector<int> a::b ab::cd 00:1a:2b:3c:4d:5e 10:30:45",
    "instagram is down and snap is fun",
    "my insta is private now, twitter is dead",
    "facebook: the app, twitter: null, discord: true",
    "steam is great, a twitch stream, threads: 8",
    "5 minutes down the street, 2 cars on the road",
    "3 way handshake, 10 people in court, 4 square meters",
    "1st place, 2nd row, third place 3",
    "the 12 best way to do 3 more laps around the place",
    "spring 2024, string 2, during 2020, offering 5",
    "auf Platz 3, der Weg 2 ist lang",
    "via HTTP 2 and via port 8080",
    "one two three four five six seven eight nine ten",
    "ten nine eight seven six five four three two one",
    "one of the two or three people, for one or two days",
    "timestamps 1700000000 and 1700000000000",
    "SSN 123-45-6789 and zip 90210-1234",
    "192 168 1000 and 1234 5678",
    "phone numbers are hard; call 911 or 112",
    "I paid 20 dollars for 3 items at 5 o'clock",
    "4 5 6 7 8 9 10 11 and 1 2 3 4 5 6 7 8",
    "0 1 1 0 1 0 0 1 0 1 1 0",
    "1234567 1234567890 0123456789",
    "the 2019 2020 2021 2022 seasons",
    "1920x1080 and 3840x2160 at 60 Hz, 16GB, 5s, 10s",
    "4111 1111 1111 1112 checks for nothing",
    "DE89 3704 0044 0532 0130 01 checks for nothing",
    "AB12 is a plate and GB29 a plug",
    "10 is 5 so 1 is 0 i s o",
    "call me maybe, text later, dms are closed",
    "the dot product of a dot b dot c",
    "Room 101, floor 12, gate B22, seat 34A",
    "Luke 12:13-14, 1 Cor 13:4-7",
    "@everyone and @here and @latest",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
    "https://www.instagram.com/p/Cabc123/ https://x.com/home",
    "https://example.com/orders/2125550134?id=4155552671",
    "52.5200, 13.4050 and 40.7128,-74.0060",
    "0.1234567890123456",
    "1.000.000 Euro, 10.000.000 Menschen",
    "ein 2 zu 1 und 3 zu 2",
    "1,2,3,4,5,6,7,8,9,10",
    "Population: 8336817 in 2020; 8804190 in 2010",
    "a@b",
    "e-mail@",
    "@",
    "",
    "Привет, как дела? 今日は 😀",
    "๑๒๓ ໑໒໓ and ½ or ²",
]


@pytest.mark.parametrize("text", NOTHING)
def test_what_only_looks_personal_is_left_alone(text: str) -> None:
    found = find(text)

    assert [
        (match.rule, text[match.start : match.end]) for match in found if match.score > 0.5
    ] == []


def test_four_small_numbers_are_a_guess() -> None:
    assert [match.score for match in find("see 1.2.3.4 there")] == [0.5]


def test_a_phrase_is_no_more_than_an_intention() -> None:
    assert [match.is_intent for match in find("text me on Friday")] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "Nature 1997 390 407 409 9389481",
        "Science 1987 236 1661 1666 3299700, Cell 1998 93 791 804 9630223",
        "| taskiq | 82 | 8 136 | 68 / 297 / 775 | 13 / 59 / 238 |",
        "| total | 3613429 | 3293614 | 100.00 | 22.55 | 35.17 | 48.50 | 61.07 |",
        "0.27-0.30 / 3.7-5.1 and 9B 0.821/0.907 and 1.9.1 | 0.986 / 0.931",
        "SERVER_AUTH = '1.3.6.1.5.5.7.3.1'",
        "but at this point it's done",
        "the observatory at Modena . In 1888 , it moved",
        "lane.losses = 0 if lane in had else 1",
        "@cached_property\ndef f(self):\n    threads = self._threads\n    discord: Discord",
        'b"0123456789" + b"01345789l"',
        "0.333333333 and 18068.83365 and Decimal('+35236450.6')",
        "-38957 (38957) | h * 69069 + 907133923 | hx * 3644798167",
        "standard 854-1987",
        "# ------------------------------------------------------------",
    ],
)
def test_tables_papers_and_programs_hold_no_numbers_of_people(text: str) -> None:
    found = find(text)

    assert [
        (match.rule, text[match.start : match.end]) for match in found if match.score > 0.5
    ] == []
