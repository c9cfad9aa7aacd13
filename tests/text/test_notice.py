import textwrap
from pathlib import Path

import pytest

from recurlm.text.notice import traits_of
from recurlm.text.sources import whole_text

RAW = 'He said: "Where is my lord?"\nThe queen, who knew, said nothing.\n\n'
TOKENIZED = 'He said : " Where is my lord ? "\nmr. smith of acme corp. , who knew it all , said nothing today .\n'
MOLECULES = "".join(f"CC(=O)Oc1ccccc1{'C' * (number % 50)}N{'O' * (number // 50)}\n" for number in range(200))
KINDS = {
    "raw": (RAW, "raw"),
    "tokenized": (TOKENIZED * 20, "tokenized"),
    "without punctuation": ("the cat sat on the mat\n", "tokenized"),
    "Chinese": ("今天天气很好，我们去公园。\n", "unspaced"),
    "segmented Chinese": ("今天 天气 很 好 ， 我们 去 公园 。\n", "tokenized"),
    "Japanese": ("今日はとてもいい天気です。\n", "unspaced"),
    "Thai": ("สวัสดีชาวโลกวันนี้อากาศดี\n", "unspaced"),
    "Korean": ("오늘은 날씨가 좋아서, 공원에 갔다.\n", "raw"),
    "German quotes": ("„Wo ist mein Herr?“\n»Er ist fort.«\n«Il est parti!»\n", "raw"),
    "SMILES": (MOLECULES, "unspaced"),
    "one word a line": ("cherry\nlemon\nlime\n" * 50, "tokenized"),
    "few lines": ("abcdefgh\nijklmnop\n", "tokenized"),
}


@pytest.mark.parametrize(("text", "kind"), KINDS.values(), ids=list(KINDS))
def test_the_kind_of_a_text_is_noticed(text: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "made.txt"
    path.write_text(text, encoding="utf-8")
    assert traits_of(whole_text(path)).kind == kind


def test_the_measures_of_a_text_worked_out_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "made.txt"
    path.write_text('The end, "he said."\n\n漢字 A lord.\n\n')
    traits = traits_of(whole_text(path))
    # seven words: The end, "he said." 漢字 A lord.
    assert (traits.lines, traits.blank, traits.words) == (4, 2, 7)
    assert traits.attached == pytest.approx(3 / 7)
    assert traits.apart == 0
    assert traits.capitals == pytest.approx(2 / 7)
    assert traits.unspaced == pytest.approx(2 / 19)
    assert traits.distinct == 1
    assert traits.length == pytest.approx((3 + 4 + 3 + 6 + 2 + 1 + 5) / 7)
    assert (traits.longest, traits.filled, traits.broken) == (19, 14.5, 0.0)
    assert traits.has_paragraphs


def test_only_the_first_megabyte_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "made.txt"
    path.write_text("the cat sat\n" * 100_000 + RAW * 100_000)
    traits = traits_of(whole_text(path))
    assert traits.kind == "tokenized"
    assert traits.words == pytest.approx(3 * (1 << 20) / 12, abs=3)


PARAGRAPH = "It was a dark evening when the captain turned away from the road to the mill, and nobody knew why. "


@pytest.mark.parametrize(
    ("text", "wrapped"),
    [
        ("\n".join(textwrap.wrap(PARAGRAPH * 12, 70)) + "\n\n", True),
        ((PARAGRAPH * 3).strip() + "\n\n", False),
        ("Shall I compare thee to a summer's day?\nThou art more lovely, and more temperate:\n", False),
        ("the cat sat on the mat and looked at the dog which was lying there\n", False),
    ],
    ids=["wrapped", "one line a paragraph", "verse", "sentences without punctuation"],
)
def test_paragraphs_that_are_broken_into_lines_are_noticed(text: str, wrapped: bool, tmp_path: Path) -> None:
    path = tmp_path / "made.txt"
    path.write_text(text * 20)
    assert traits_of(whole_text(path)).is_wrapped == wrapped
