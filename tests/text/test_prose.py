import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm.errors import CorruptFileError, UsageError
from recurlm.text.codec import Codec
from recurlm.text.prose import Prose, _segments
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import EOS, UNK, Vocabulary

CASES = {
    "words and punctuation": ('"Where is the lord?", she said.', '" Where is the lord ? " , she said .'),
    "forms of one word": ("lord, lord. lord? lord! (lord)", "lord , lord . lord ? lord ! ( lord )"),
    "straight apostrophe": ("Don't say o'clock", "Don't say o'clock"),
    "curly apostrophe": ("it’s Pip’s", "it’s Pip’s"),
    "apostrophe at an edge": ("'tis the dogs' house", "' tis the dogs ' house"),
    "hyphens": ("well-known mother-in-law", "well - known mother - in - law"),
    "dashes": ("so—then -- no", "so — then - - no"),
    "numbers": ("3.14 and 1,000,000 or 5%", "3.14 and 1,000,000 or 5 %"),
    "abbreviations": ("the U.S. and Mr. X", "the U.S . and Mr . X"),
    "underscore": ("snake_case", "snake_case"),
    "dots": ("well... yes…", "well . . . yes …"),
    "accents": ("naïve café Ångström", "naïve café Ångström"),
    "combining marks": ("cafe\u0301 e\u0301te\u0301", "cafe\u0301 e\u0301te\u0301"),
    "soft hyphen": ("co\u00adoperate", "co\u00adoperate"),
    "emoji": ("ok😀😀 👍🏽", "ok 😀 😀 👍🏽"),
    "joined emoji": ("👩\u200d👩\u200d👧 🇩🇪🇫🇷", "👩\u200d👩\u200d👧 🇩🇪 🇫🇷"),
    "Han": ("漢字。", "漢 字 。"),
    "Hiragana": ("かな", "か な"),
    "Katakana": ("カタカナ", "カタカナ"),
    "Hangul": ("안녕 세계", "안녕 세계"),
    "Cyrillic": ("«Да», сказал", "« Да » , сказал"),
    "Hebrew": ('צה"ל', 'צה"ל'),
    "white space": (" a\t\tb\u00a0c\u3000d ", "a b c d"),
    "unknown word": ("the <unk>, too", "the <unk> , too"),
}
"""Texts, and their tokens by the rules of UAX 29 as worked out by hand."""

ROUND_TRIPS = [
    'He said, "Where is my lord?" and left (at once); nobody saw him.',
    '"Don\'t!" she cried: "It\'s 7 o\'clock." He didn’t.',
    "“Come,” he said—“it’s ‘late’, my well-known lord!”",
    "„Chodź” – powiedział, „już”.",
    "The mother-in-law paid $1,859.50 (5% more) and/or left…",
    "one line,\n\nanother: a third.\n",
    '"An open quote\n"and another" on the next line',
    "今天天气很好，我们去公园。",
    "Élan vital, naïve café.",
]

TOKENS = ["lord", '"', "'", ",", ".", "(", ")", "-", "“", "”", "\n", "漢", "7", "’", "$"]


@pytest.mark.parametrize(("text", "tokens"), CASES.values(), ids=list(CASES))
def test_words_are_cut_at_the_boundaries_of_unicode(text, tokens):
    assert list(Prose().split(text)) == tokens.split(" ")


def test_each_line_feed_is_a_token_and_empty_lines_have_no_other():
    assert list(Prose().split("a.\n\n b\n")) == ["a", ".", "\n", "\n", "b", "\n"]
    assert list(Prose().split("")) == []


def test_lower_case_and_masked_digits():
    assert list(Prose(lowercase=True).split("My LORD, in 1859")) == ["my", "lord", ",", "in", "1859"]
    assert list(Prose(digits="mask").split("1,859 A4")) == ["0,000", "A0"]


@pytest.mark.parametrize("text", ROUND_TRIPS)
def test_prose_reads_as_it_was_written_after_cutting_and_joining(text):
    assert Prose().join(list(Prose().split(text))) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_cutting_loses_white_space_only(text):
    assert "".join("".join(Prose().split(text)).split()) == "".join(text.split())


@given(st.lists(st.sampled_from(TOKENS)), st.lists(st.sampled_from(TOKENS)))
def test_a_text_joins_on_after_its_context_as_after_all_tokens(before, after):
    prose = Prose()
    context = prose.context(before)
    assert len(context) <= 3
    whole, start = prose.join([*before, *after]), prose.join(before)
    assert whole.startswith(start)
    assert prose.join([*context, *after])[len(prose.join(context)) :] == whole[len(start) :]


@pytest.mark.parametrize(
    ("prose", "cut"),
    [
        (Prose(), "prose"),
        (Prose(lowercase=True), "prose(lowercase)"),
        (Prose(digits="mask"), "prose(digits=mask)"),
        (Prose(lowercase=True, digits="mask"), "prose(lowercase,digits=mask)"),
    ],
)
def test_a_vocabulary_and_a_signature_record_the_cut(prose, cut, tmp_path):
    codec = Codec(prose, Vocabulary((EOS, UNK, "lord")))
    for name, content in codec.files().items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert Codec.load(tmp_path) == codec
    assert prose.cut == cut


@pytest.mark.parametrize(
    "change", [{"cut": "lines"}, {"cut": 1}, {"lowercase": "yes"}, {"digits": "drop"}, {"digits": None}]
)
def test_a_vocabulary_with_another_cut_is_refused(change, tmp_path):
    content = json.loads(Codec(Prose(), Vocabulary((EOS, "lord"))).files()["vocabulary.json"])
    (tmp_path / "vocabulary.json").write_text(json.dumps(content | change))
    with pytest.raises(CorruptFileError, match=r"vocabulary\.json: cut must be"):
        Codec.load(tmp_path)


def test_versions_that_know_only_spaces_refuse_a_vocabulary_of_prose():
    prose, spaces = Codec(Prose(), Vocabulary((EOS, "lord"))), Codec(Words(), Vocabulary((EOS, "lord")))
    assert json.loads(prose.files()["vocabulary.json"])["format"] == "recurlm vocabulary 2"
    assert json.loads(spaces.files()["vocabulary.json"]) == {
        "format": "recurlm vocabulary 1",
        "unit": "word",
        "eos": EOS,
        "unk": None,
        "tokens": [EOS, "lord"],
    }


def test_without_the_library_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    _segments.cache_clear()
    with pytest.raises(UsageError, match="pip install regex"):
        list(Prose().split("words that no other test has made it remember"))
    _segments.cache_clear()


MARKS = "\u0301\u00ad\u200d\ufeff\uff9e\U0001f3fb"


@given(
    st.text(st.sampled_from("ab1é漢ไカא \n\t\r\x1c\x85\u1680\u3000'._<>\U0001f1e9" + MARKS), max_size=24),
    st.sampled_from(["", "<unk>", " a", *(f" {mark}" for mark in MARKS), *(f" \u1680{mark}" for mark in MARKS)]),
)
def test_words_cut_one_by_one_are_those_of_the_whole_line(beginning, end):
    text = beginning + end + beginning
    expected = []
    for number, line in enumerate(text.split("\n")):
        expected += ["\n"] if number else []
        expected += [segment for segment in _segments().findall(line) if not segment.isspace()]
    assert list(Prose().split(text)) == expected
