"""The list of terms: what it holds, and what is refused."""

from __future__ import annotations

import codecs
from importlib import resources
from pathlib import Path

import pytest

from penstock.errors import ConfigurationError
from penstock.providers.provider import JUDGED
from penstock.words.lexicon import Lexicon, Term, load_lexicon

SHIPPED = resources.files("penstock.words").joinpath("lexicon.tsv").read_text("utf-8")


def write(path: Path, *rows: str) -> Path:
    file = path / "terms.tsv"
    file.write_text("# comment\n\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


def test_the_built_in_list_speaks_for_every_category():
    lexicon = load_lexicon()

    assert {term.category for term in lexicon.terms} == set(JUDGED)
    assert len(lexicon.terms) > 3000
    assert all(0 < term.severity <= 1 for term in lexicon.terms)


def test_the_built_in_list_is_small():
    assert len(SHIPPED.encode()) <= 200_000


def test_slurs_do_not_stand_readable_in_the_file():
    rows = [line.split("\t") for line in SHIPPED.splitlines() if not line.startswith("#")]
    hidden = [row for row in rows if "r" in row[3]]

    readable = {term.text for term in load_lexicon().terms if "r" in term.flags}

    assert len(hidden) > 80
    assert not any(f"\t{text}\n" in SHIPPED for text in readable)
    assert all(row[0].startswith("hate.") for row in hidden)


def test_rules_never_name_the_term():
    for term in load_lexicon().terms:
        family, number = term.rule.split(".")
        assert number.isdecimal()
        assert family != term.text


def test_rot13_rows_are_read_back(tmp_path):
    file = write(tmp_path, f"hate.001\thate\t0.9\tr\t{codecs.encode('badword', 'rot13')}")

    lexicon = load_lexicon(file)

    assert [term.text for term in lexicon.terms] == ["badword"]


def test_braces_stand_for_each_of_their_parts(tmp_path):
    file = write(
        tmp_path, "threat.001\tharassment/threatening\t0.9\t\t{i will|we will} find you{|r}"
    )

    texts = [term.text for term in load_lexicon(file).terms]

    assert texts == ["i will find you", "i will find your", "we will find you", "we will find your"]


def test_contexts_are_kept_apart_from_terms(tmp_path):
    file = write(tmp_path, "allow.001\t@allow\t0\t\tmoby dick", "x.001\tprofanity\t0.3\t\tdick")

    lexicon = load_lexicon(file)

    assert [term.text for term in lexicon.contexts] == ["moby dick"]
    assert [term.text for term in lexicon.terms] == ["dick"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("x.001\tprofanity\t0.3\tword", "line 3: 4 columns, expected 5"),
        ("x.001\trudeness\t0.3\t\tword", "line 3: no category is called 'rudeness'"),
        ("x.001\tprofanity\thigh\t\tword", "line 3: severity 'high' is not a number"),
        ("x.001\tprofanity\t1.5\t\tword", "line 3: severity 1.5 is not between 0 and 1"),
        ("x.001\tprofanity\tnan\t\tword", "line 3: severity nan is not between 0 and 1"),
        ("\tprofanity\t0.3\t\tword", "line 3: rule '' is empty"),
        ("x.001\tprofanity\t0.3\tq\tword", "line 3: unknown flags 'q'"),
        ("x.001\tprofanity\t0.3\t\t!!", "line 3: the text of rule x.001 holds no letter"),
        ("x.001\tprofanity\t0.3\t\ta{b", "line 3: a brace is not closed"),
        ("x.001\tprofanity\t0.3\t\t" + "a{b|c}" * 12, "line 3: more than 1000 forms"),
        ("x.001\tprofanity\t0.3\t\t" + "a" * 201, "line 3: the text of rule x.001 is longer"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, row, complaint):
    file = write(tmp_path, row)

    with pytest.raises(ConfigurationError) as raised:
        load_lexicon(file)

    assert complaint in raised.value.detail


def test_a_repeated_text_is_refused_without_quoting_it(tmp_path):
    file = write(
        tmp_path, "x.001\tprofanity\t0.3\t\tSome  Word", "x.002\tprofanity\t0.6\t\tsome word"
    )

    with pytest.raises(ConfigurationError) as raised:
        load_lexicon(file)

    assert "line 4: rule x.002 repeats the text of terms.tsv line 3" in raised.value.detail
    assert "some word" not in raised.value.detail.lower()


def test_one_text_may_speak_for_two_categories(tmp_path):
    file = write(tmp_path, "x.001\tprofanity\t0.3\t\tword", "y.001\tsexual\t0.3\t\tword")

    assert len(load_lexicon(file).terms) == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent\.tsv cannot be read"):
        load_lexicon(tmp_path / "absent.tsv")


def test_terms_from_users_are_checked_by_position():
    good = Term("word", "profanity", 0.3, "list.001")
    bad = Term("other", "unheard", 0.3, "list.002")

    with pytest.raises(ConfigurationError, match="term 2: no category"):
        Lexicon.from_terms([good, bad])


def test_the_version_follows_the_content_and_not_the_order():
    one, two = (Term(text, "profanity", 0.3, f"list.{text}") for text in ("one", "two"))
    stronger = Term("two", "profanity", 0.6, "list.two")

    version = Lexicon.from_terms([one, two]).version

    assert Lexicon.from_terms([two, one]).version == version
    assert Lexicon.from_terms([one, stronger]).version != version
