"""What is found, by kind, disguise and language; the whole of it is what must be hidden."""

from __future__ import annotations

import pytest

from penstock.pii import find

FOUND = [
    # kind, text with the found piece between ⟦ and ⟧, rule, least score
    ("email", "write to ⟦john.doe@gmail.com⟧, please", "pii.email", 1.0),
    ("email", "⟦a+b_c@mail.example.co.uk⟧.", "pii.email", 1.0),
    ("email", "<⟦jane@example.museum⟧>", "pii.email", 1.0),
    ("email", "mailto:⟦jane@example.org⟧?subject=x", "pii.email", 1.0),
    ("email", "⟦jürgen@müller.de⟧ schreibt", "pii.email", 1.0),
    ("email", "⟦john＠gmail．com⟧", "pii.email", 1.0),
    ("email", "⟦𝓳𝓸𝓱𝓷@𝓰𝓶𝓪𝓲𝓵.𝓬𝓸𝓶⟧", "pii.email", 1.0),
    ("email", "⟦jo\u200bhn@gm\u200bail.c\u2060om⟧ ok", "pii.email", 1.0),
    ("email", "⟦jоhn@gmаil.com⟧ with Cyrillic letters", "pii.email", 1.0),
    ("email", "⟦john dot doe at gmail dot com⟧", "pii.email.spelled", 0.9),
    ("email", "it's ⟦john [at] gmail (dot) com⟧ ok", "pii.email.spelled", 0.9),
    ("email", "it's ⟦john(at)example.com⟧", "pii.email.spelled", 0.9),
    ("email", "it's ⟦john{at}example{dot}org⟧", "pii.email.spelled", 0.9),
    ("email", "it's ⟦jane_doe AT hotmail DOT com⟧", "pii.email.spelled", 0.9),
    ("email", "⟦john @ gmail . com⟧", "pii.email.spelled", 0.9),
    ("email", "⟦john@gmail dot com⟧", "pii.email.spelled", 0.9),
    ("email", "⟦john@gmail,com⟧", "pii.email.spelled", 0.9),
    ("email", "⟦john@gmail⟧ is mine", "pii.email.spelled", 0.8),
    ("email", "my mail is ⟦foo99 at gmail⟧", "pii.email.spelled", 0.7),
    ("email", "⟦j o h n @ g m a i l . c o m⟧", "pii.email.spelled", 0.9),
    ("email", "⟦johnatgmaildotcom⟧", "pii.email.spelled", 0.8),
    ("email", "mail me at ⟦john underscore doe at yahoo dot co dot uk⟧", "pii.email.spelled", 0.9),
    ("email", "email: ⟦john at example dot org⟧", "pii.email.spelled", 0.9),
    ("email", "escríbeme a ⟦juan arroba gmail punto com⟧", "pii.email.spelled", 0.9),
    ("phone", "call ⟦212-555-0134⟧ now", "pii.phone", 1.0),
    ("phone", "call ⟦(212) 555-0134⟧ now", "pii.phone", 1.0),
    ("phone", "⟦212.555.0134⟧", "pii.phone", 1.0),
    ("phone", "⟦1-800-555-0199⟧", "pii.phone", 0.9),
    ("phone", "⟦+1 (415) 555-2671⟧", "pii.phone", 1.0),
    ("phone", "⟦+442079460958⟧", "pii.phone", 0.9),
    ("phone", "⟦+49 (0)30 901820⟧", "pii.phone", 0.9),
    ("phone", "⟦0049 30 901820⟧", "pii.phone", 0.9),
    ("phone", "⟦+91 98765 43210⟧", "pii.phone", 1.0),
    ("phone", "⟦020 7946 0958⟧", "pii.phone", 0.9),
    ("phone", "⟦06 12 34 56 78⟧ à Paris", "pii.phone", 0.9),
    ("phone", "ruf an: ⟦0171 2345678⟧", "pii.phone", 0.9),
    ("phone", "⟦030/901820⟧ in Berlin", "pii.phone", 0.9),
    ("phone", "⟦98765 43210⟧", "pii.phone", 0.8),
    ("phone", "text me ⟦2125550134⟧", "pii.phone", 0.9),
    ("phone", "⟦2125550134⟧", "pii.phone", 0.7),
    ("phone", "ring me on ⟦555-0134⟧", "pii.phone", 0.9),
    ("phone", "my number is ⟦8675309⟧", "pii.phone", 0.6),
    ("phone", "tel:⟦+12125550134⟧", "pii.phone", 1.0),
    ("phone", "llama al ⟦612 345 678⟧", "pii.phone", 0.9),
    ("phone", "⟦8 (912) 345-67-89⟧", "pii.phone", 0.9),
    ("phone", "⟦２１２-５５５-０１３４⟧", "pii.phone", 1.0),
    ("phone", "⟦٢١٢-٥٥٥-٠١٣٤⟧", "pii.phone", 1.0),
    ("phone", "⟦2\u200b1\u200b2\u200b-555-0134⟧", "pii.phone", 1.0),
    ("phone", "⟦②①②-⑤⑤⑤-⓪①③④⟧", "pii.phone", 0.9),
    ("phone", "⟦2️⃣1️⃣2️⃣-5️⃣5️⃣5️⃣-0️⃣1️⃣3️⃣4⟧", "pii.phone", 0.9),
    ("phone", "⟦five five five one two three four⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦two one two, five five five, oh one three four⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦two 1 two five 5 five zero one 3 four⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦fivefivefiveonetwothreefour⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦double five five one two triple three⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦cinco cinco cinco uno dos tres cuatro⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦null eins sieben eins zwei drei vier fünf sechs⟧", "pii.phone.spelled", 0.9),
    ("phone", "call ⟦5 5 5 - 1 2 3 - 4 5 6 7⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦2 1 2 5 5 5 0 1 3 4⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦2l2-5S5-o134⟧", "pii.phone.spelled", 0.9),
    ("phone", "⟦(212) 555 o134⟧", "pii.phone.spelled", 0.9),
    ("phone", "phone = ⟦2125550134⟧", "pii.phone", 0.9),
    ("phone", "my cell: ⟦2125550134⟧", "pii.phone", 0.9),
    ("phone", "**⟦212-555-0134⟧**", "pii.phone", 1.0),
    ("phone", "call me on Monday", "pii.phone.intent", 0.5),
    ("card", "⟦4111 1111 1111 1111⟧", "pii.card", 1.0),
    ("card", "⟦4111111111111111⟧ 12/27 123", "pii.card", 1.0),
    ("card", "⟦5555-5555-5555-4444⟧", "pii.card", 1.0),
    ("card", "amex ⟦3782 822463 10005⟧", "pii.card", 1.0),
    ("card", "⟦6011 1111 1111 1117⟧", "pii.card", 1.0),
    ("card", "⟦3530 1113 3330 0000⟧", "pii.card", 1.0),
    ("card", "⟦４１１１ １１１１ １１１１ １１１１⟧", "pii.card", 1.0),
    ("card", "⟦4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1⟧", "pii.card.spelled", 0.9),
    (
        "card",
        "⟦four one one one one one one one one one one one one one one one⟧",
        "pii.card.spelled",
        0.9,
    ),
    ("iban", "⟦DE89 3704 0044 0532 0130 00⟧ please", "pii.iban", 1.0),
    ("iban", "⟦GB29NWBK60161331926819⟧", "pii.iban", 1.0),
    ("iban", "⟦fr14 2004 1010 0505 0001 3m02 606⟧", "pii.iban", 1.0),
    ("iban", "IBAN:⟦NL91-ABNA-0417-1643-00⟧", "pii.iban", 1.0),
    ("ip", "from ⟦203.0.113.9⟧ today", "pii.ip", 1.0),
    ("ip", "⟦8.8.8.8⟧", "pii.ip", 1.0),
    ("ip", "my server ⟦1.2.3.4⟧", "pii.ip", 1.0),
    ("ip", "⟦192.168.1.10⟧", "pii.ip", 0.6),
    ("ip", "⟦203[.]0[.]113[.]9⟧", "pii.ip.spelled", 0.9),
    ("ip", "⟦203 dot 0 dot 113 dot 9⟧", "pii.ip.spelled", 0.9),
    ("ip", "⟦2001:db8::8a2e:370:7334⟧", "pii.ip", 1.0),
    ("ip", "[⟦fe80:0:0:0:202:b3ff:fe1e:8329⟧]", "pii.ip", 1.0),
    ("social", "⟦https://www.instagram.com/foo_bar⟧/", "pii.social.link", 1.0),
    ("social", "⟦t.me/joinchat/AbCd⟧", "pii.social.link", 1.0),
    ("social", "join ⟦discord.gg/abc⟧", "pii.social.link", 1.0),
    ("social", "at ⟦foo.tumblr.com⟧", "pii.social.link", 1.0),
    ("social", "⟦linkedin.com/in/jane-doe⟧", "pii.social.link", 1.0),
    ("social", "⟦https://www.tiktok.com/@foo⟧/video/1", "pii.social.link", 1.0),
    ("social", "⟦https://x.com/jack⟧", "pii.social.link", 1.0),
    ("social", "⟦instagram dot com slash foo_bar⟧", "pii.social.spelled", 0.9),
    ("social", "⟦t[.]me/foo_bar⟧", "pii.social.spelled", 0.9),
    ("social", "⟦discord gg / abc123⟧", "pii.social.spelled", 0.9),
    ("social", "⟦@jack_99⟧ is there", "pii.social.handle", 0.6),
    ("social", "find me on twitter ⟦@jack⟧", "pii.social.handle", 1.0),
    ("social", "dm ⟦@jack⟧", "pii.social.handle", 0.8),
    ("social", "⟦@user@mastodon.social⟧", "pii.social.handle", 1.0),
    ("social", "my insta is ⟦foo_bar⟧", "pii.social.handle", 0.9),
    ("social", "My IG: ⟦foo.bar⟧", "pii.social.handle", 0.9),
    ("social", "snap: ⟦foo⟧", "pii.social.handle", 0.8),
    ("social", "insta gram ⟦foo_99⟧", "pii.social.handle", 0.9),
    ("social", "my 1nst4 is ⟦coolkid⟧", "pii.social.handle", 0.8),
    ("social", "add me on sn@p ⟦cool.kid7⟧", "pii.social.handle", 0.9),
    ("social", "discord = ⟦foo_bar⟧", "pii.social.handle", 0.9),
    ("social", "my telegram is ⟦johnny⟧", "pii.social.handle", 0.8),
    ("social", "⟦foo_bar⟧ on insta", "pii.social.handle", 0.8),
    ("social", "dm me", "pii.social.intent", 0.5),
    ("address", "⟦12 Main Street⟧", "pii.address", 1.0),
    ("address", "i live at ⟦12 main street⟧", "pii.address", 0.9),
    ("address", "⟦350 Fifth Ave, New York, NY 10118⟧", "pii.address", 1.0),
    ("address", "⟦742 Evergreen Terrace⟧, Springfield", "pii.address", 1.0),
    ("address", "⟦1600 Pennsylvania Avenue NW, Washington, DC 20500⟧", "pii.address", 1.0),
    ("address", "⟦221B Baker Street, London NW1 6XE⟧", "pii.address", 1.0),
    ("address", "⟦10 Oak Dr Apt 4⟧", "pii.address", 1.0),
    ("address", "⟦P.O. Box 1234⟧", "pii.address", 1.0),
    ("address", "⟦Postfach 12 34⟧", "pii.address", 1.0),
    ("address", "⟦Hauptstraße 5, 10115 Berlin⟧", "pii.address", 1.0),
    ("address", "in der ⟦Berliner Str. 12⟧", "pii.address", 0.9),
    ("address", "⟦12 rue de la Paix, 75002 Paris⟧", "pii.address", 0.9),
    ("address", "⟦Calle Mayor 12⟧", "pii.address", 0.8),
    ("address", "⟦Prinsengracht 263⟧", "pii.address", 0.9),
    ("address", "⟦Via Roma 12⟧", "pii.address", 0.6),
    ("address", "send me your address", "pii.address.intent", 0.5),
]


@pytest.mark.parametrize(
    ("kind", "marked", "rule", "least"), FOUND, ids=[each[1] for each in FOUND]
)
def test_what_leads_to_a_person_is_found_in_its_place(
    kind: str, marked: str, rule: str, least: float
) -> None:
    text = marked.replace("⟦", "").replace("⟧", "")
    wanted = marked[marked.find("⟦") + 1 : marked.find("⟧")] if "⟦" in marked else None

    found = [match for match in find(text) if match.kind == kind]

    assert [match.rule for match in found] == [rule]
    assert found[0].score >= least
    if wanted:
        assert text[found[0].start : found[0].end] == wanted


@pytest.mark.parametrize(
    ("kind", "marked", "rule", "least"), FOUND, ids=[each[1] for each in FOUND]
)
def test_nothing_else_is_found_beside_it(kind: str, marked: str, rule: str, least: float) -> None:
    text = marked.replace("⟦", "").replace("⟧", "")

    assert {match.kind for match in find(text) if match.score >= 0.6} <= {kind}
