from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.services.moderation.language import UNKNOWN, identify, likeliest


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "Hello there, how are you today my friend?"),
        ("de", "Ich habe heute leider keine Zeit."),
        ("fr", "bonjour tout le monde, comment allez-vous"),
        ("es", "Hoy no tengo tiempo para hablar contigo"),
        ("it", "Questo è un bel giorno"),
        ("pl", "ty jesteś idiotą"),
        ("ru", "Сегодня я остаюсь дома."),
        ("uk", "Сьогодні я залишаюся вдома, бо йде дощ."),
        ("ar", "مرحبا كيف حالك"),
        ("hi", "नमस्ते दुनिया आप कैसे हैं"),
        ("el", "Καλημέρα"),
        ("ja", "今日はとても良い天気ですね"),
        ("zh", "你好世界"),
        ("ko", "안녕하세요"),
        ("th", "สวัสดีครับ"),
    ],
)
def test_a_plain_text_is_recognised(code: str, text: str) -> None:
    assert identify(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lol",
        "ok",
        "12345 !!!",
        "idiot",
        "hola amigo",
        "что",
        "I am fine мой друг and you",
        "中",
    ],
    ids=str,
)
def test_a_short_or_mixed_text_is_no_guess(text: str) -> None:
    assert likeliest(text).code == UNKNOWN


def test_addresses_and_names_say_nothing_of_the_language() -> None:
    assert identify("https://example.com/ich-habe-heute-keine-zeit @jemand #wetter") == UNKNOWN


def test_a_script_of_one_language_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> None:
        raise AssertionError("the data was loaded")

    monkeypatch.setattr("penstock.services.moderation.language._model", never)

    assert identify("안녕하세요") == "ko"


@given(st.text(st.characters()))
def test_any_text_has_an_answer(text: str) -> None:
    found = likeliest(text)

    assert found.code == UNKNOWN or len(found.code) == 2
    assert 0.0 <= found.confidence <= 1.0
