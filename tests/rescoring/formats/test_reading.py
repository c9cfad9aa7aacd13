"""Lists, lattices and ARPA files that say the same thing in every form, and what each of them refuses."""

import gzip
import json
import time
from pathlib import Path

import pytest

from recurlm.errors import CorruptFileError, InputError
from recurlm.files import streams
from recurlm.mxnet.vocabulary import read_vocabulary
from recurlm.ngrams import arpa
from recurlm.ngrams.arpa import read_arpa
from recurlm.rescoring.formats import htk
from recurlm.rescoring.formats.reading import read_nbest, recognize_format
from recurlm.rescoring.formats.text_lists import CostFiles, read_references
from recurlm.rescoring.formats.writing import check_utterances
from recurlm.scoring.formats import open_writer

OTHER_SPACES = ["\u00a0", "\t", "\x0b", "\x0c", "\x1f", "\x85", "\u2003", "\u2028", "\u2029", "\u3000", "\ufeff", "\r"]


def stored(folder: Path, content: str | bytes, name: str = "list") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def words_read(path: str, format: str) -> tuple[str, ...]:
    (found,) = read_nbest([path], format).hypotheses
    return found.words


@pytest.mark.parametrize("space", OTHER_SPACES)
def test_every_form_separates_words_at_spaces_alone(tmp_path, space):
    text = f"the{space}function  returns"
    expected = (f"the{space}function", "returns")
    assert words_read(stored(tmp_path, f"u-1 {text}\n"), "kaldi") == expected
    assert words_read(stored(tmp_path, f"u-1\t{text}\r\n"), "mikolov") == expected
    assert words_read(stored(tmp_path, json.dumps({"utterance": "u", "text": text})), "jsonl") == expected
    assert words_read(stored(tmp_path, json.dumps({"utterance": "u", "words": text})), "jsonl") == expected
    assert words_read(stored(tmp_path, json.dumps({"utterance": "u", "words": list(expected)})), "jsonl") == expected
    assert read_references(Path(stored(tmp_path, f"u-1 {text}\n")))["u-1"] == expected
    # `score --format kaldi` gives the scorer these words
    assert list(open_writer("kaldi", None).scored_parts([f"u-1 {text}"])) == [text]


def test_a_cost_stands_after_spaces_or_tabs(tmp_path):
    costs = stored(tmp_path, "u-1\t \t1.5\r\nu-2  2\n", "costs")
    found = read_nbest([stored(tmp_path, "u-1 a\nu-2 b\n")], "kaldi", CostFiles(acoustic=Path(costs)))
    assert [each.acoustic_cost for each in found.hypotheses] == [1.5, 2.0]


@pytest.mark.parametrize("cost", ["1_0", "\u0661", "\uff11", "1\u00a0", "nan", "infinity", "0x1", "1e999", "1,5"])
def test_a_cost_is_a_number_in_decimal_digits(tmp_path, cost):
    costs = stored(tmp_path, f"u-1 {cost}\n", "costs")
    with pytest.raises(InputError, match=r"costs, line 1: the cost should be a number"):
        read_nbest([stored(tmp_path, "u-1 a\n")], "kaldi", CostFiles(acoustic=Path(costs)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"text": "a", "x": "\ud83d the"}, r"half of a surrogate pair \(U\+D83D\)"),
        ({"text": "\ud83d the"}, "half of a surrogate pair"),
        ({"text": "\udce9"}, "half of a surrogate pair"),
        ({"words": ["new york"]}, "'new york' in \"words\" is not one word"),
        ({"words": ["a", ""]}, "'' in \"words\" is not one word"),
        ({"words": ["a", 1]}, "contains something that is not a text"),
        ({"text": "a\nb"}, "the words contain a line feed"),
        ({"words": ["a\n"]}, "the words contain a line feed"),
        ({"text": 1}, 'needs "utterance"'),
    ],
)
def test_json_that_is_no_hypothesis(tmp_path, value, said):
    first = json.dumps({"utterance": "u", "text": "a"})
    path = stored(tmp_path, f"{first}\n{json.dumps({'utterance': 'u'} | value)}\n")
    with pytest.raises(InputError, match=f"list, line 2: .*{said}"):
        read_nbest([path], "jsonl")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, '{"utterance": ' + "7" * 5_000 + "}"])
def test_json_too_deep_or_long_names_its_line(tmp_path, content):
    with pytest.raises(InputError, match=r"list, line 1: "):
        read_nbest([stored(tmp_path, content)], "jsonl")


@pytest.mark.parametrize("utterance", ["", "u 1", "u\t1", "u\n1", "\x1b]0;x\x07", "u\x85", "u\u2028"])
@pytest.mark.parametrize("format", ["best", "scores", "nbest"])
def test_an_id_that_lines_cannot_hold_is_refused(tmp_path, utterance, format):
    lists = read_nbest([stored(tmp_path, json.dumps({"utterance": utterance, "text": "a"}))], "jsonl").lists
    with pytest.raises(InputError, match=rf"list, line 1: the utterance id .* format {format} cannot hold"):
        check_utterances(lists, format)
    check_utterances(lists, "jsonl")


def test_any_other_id_is_kept(tmp_path):
    value = {"utterance": "u\u00a01-é", "text": "a"}
    lists = read_nbest([stored(tmp_path, json.dumps(value))], "jsonl").lists
    check_utterances(lists, "best")
    assert lists[0].utterance == "u\u00a01-é"


def test_lines_and_files_have_limits(tmp_path, monkeypatch):
    long = stored(tmp_path, "u-1 a\nu-2 " + "b" * (1 << 20) + "\n")
    for read in (lambda: read_nbest([long], "kaldi"), lambda: read_references(Path(long))):
        with pytest.raises(InputError, match=r"list, line 2: longer than 1,048,576 bytes.*\n.*RECURLM_LIMITS"):
            read()
    packed = stored(tmp_path, gzip.compress(b"u a\n" * (1 << 20), 9), "zeros.gz")
    monkeypatch.setattr(streams, "FREE_EXPANSION", 1 << 20)
    with pytest.raises(InputError, match="times its own size"):
        read_nbest([packed], "mikolov")
    zeros = stored(tmp_path, gzip.compress(b" \n" * (1 << 20), 9), "zeros.gz")
    with pytest.raises(InputError, match="times its own size"):
        read_references(Path(zeros))


# Lattices


def lattice(folder: Path, arc: str, node: str = "I=1", head: str = "UTTERANCE=u") -> str:
    return stored(folder, f"{head}\nN=2 L=1\nI=0\n{node}\nJ=0 S=0 E=1 {arc}\n", "u.lat")


@pytest.mark.parametrize(
    ("written", "word"),
    [
        (r'W="caf\303\251"', "café"),
        (r"W=caf\303\251", "café"),
        (r"W='\344\273\212天'", "今天"),
        ("W=10\u00a0000", "10\u00a0000"),
        ("W=a\u2028b\x0bc", "a\u2028b\x0bc"),
        (r"W=don\'t", "don't"),
        ("W='tis", "'tis"),
        (r'W="a\"b\\c"', 'a"b\\c'),
        (r"W=a\ b", "a b"),
        ("WORD=it's\ta=-1", "it's"),
        ("W=a=b", "a=b"),
    ],
)
def test_words_of_a_lattice(tmp_path, written, word):
    (found,) = read_nbest([lattice(tmp_path, written)]).hypotheses
    assert found.text == word


@pytest.mark.parametrize(
    ("arc", "said"),
    [
        ("W=new york a=-1 l=-2", "'york a=-1 l=-2' is not a field"),
        ("W=new, york", "'york' is not a field"),
        ('W="new york', "is not a field"),
        ('W="new"york', "is not a field"),
        ("W=a ,", "',' is not a field"),
        ("W=a =b", "'=b' is not a field"),
        ("W=a W=b", "the field W= occurs twice"),
        ("W=a WORD=b", "the field WORD= occurs twice"),
        (r"W=\303", "are not UTF-8"),
        (r"W=\777", "three octal digits"),
        (r"W=a\9", "three octal digits"),
        (r"W=a\12", "three octal digits"),
        ("W=a\\", "three octal digits|is not a field"),
        (r"W=a\012b", "contains a line feed"),
        ("W=a a=1_0", "a= should be a number"),
    ],
)
def test_what_is_no_field_of_a_lattice_is_refused_with_its_line(tmp_path, arc, said):
    with pytest.raises(InputError, match=r"u\.lat, line 5: .*") as error:
        read_nbest([lattice(tmp_path, arc)])
    import re

    assert re.search(said, str(error.value))


def test_a_second_node_of_one_number_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"u\.lat, line 4: a second node I=0"):
        read_nbest([lattice(tmp_path, "W=a", node="I=0")])


@pytest.mark.parametrize("line", ["x" * 500_000, "x y " * 125_000, "a='" * 160_000, 'a="\\"' * 100_000, "=" * 500_000])
def test_a_line_without_fields_is_refused_at_once(tmp_path, line):
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"u\.lat, line 5: "):
        read_nbest([lattice(tmp_path, line)])
    assert time.monotonic() - begun < 2


def test_a_lattice_has_a_limit_on_its_size(tmp_path, monkeypatch):
    assert htk.MOST_ARCS == 2_000_000
    monkeypatch.setattr(htk, "MOST_ARCS", 2)
    assert read_nbest([lattice(tmp_path, "W=a")]).lists[0].hypotheses[0].text == "a"
    monkeypatch.setattr(htk, "MOST_ARCS", 1)
    with pytest.raises(InputError, match=r"u\.lat, line 4: more than 1 nodes or arcs"):
        read_nbest([lattice(tmp_path, "W=a")])


# ARPA files

ARPA = """\\data\\
ngram 1={count}

\\1-grams:
-1 <s>
-0.5\t</s>
-0.5 the{more}

\\end\\
"""


@pytest.mark.parametrize("name", ["m.arpa", "m.arpa.gz"])
def test_a_byte_order_mark_before_an_arpa_file_is_skipped(tmp_path, name):
    content = ("\ufeff" + ARPA.format(count=3, more="").replace("\n", "\r\n")).encode()
    path = stored(tmp_path, gzip.compress(content) if name.endswith("gz") else content, name)
    assert read_arpa(Path(path)).words == ("<s>", "</s>", "the")


@pytest.mark.parametrize(
    ("count", "more", "said"),
    [
        ("4", "\n-1 <eos>", "line 8: the word <eos> is among the 1-grams"),
        ("9" * 18, "", "line 2: the head announces 999,999,999,999,999,999 n-grams, more than"),
        ("9" * 5000, "", "line 2: a count such as"),
        ("\u0663", "", "line 2: a count such as"),
        ("4", "\n-1 a\u00a0b", None),
        ("4", "\n-1_0 a", "line 8: -1_0 is not the log10"),
        ("4", "\n-1 " + "a" * (1 << 20), "line 8: longer than 1,048,576 bytes"),
    ],
)
def test_arpa_files_that_cannot_be_meant_name_their_line(tmp_path, count, more, said):
    path = Path(stored(tmp_path, ARPA.format(count=count, more=more), "m.arpa"))
    if said is None:
        assert read_arpa(path).words[-1] == "a\u00a0b"
        return
    with pytest.raises(CorruptFileError, match=rf"m\.arpa, {said}"):
        read_arpa(path)


def test_the_order_of_an_arpa_file_has_a_limit(tmp_path):
    head = "".join(f"ngram {order}=1\n" for order in range(1, arpa.HIGHEST_ORDER + 2))
    with pytest.raises(CorruptFileError, match=r"line 34: n-grams of more than 32 words"):
        read_arpa(Path(stored(tmp_path, f"\\data\\\n{head}", "m.arpa")))


# MXNet's word lists


def test_a_byte_order_mark_before_a_word_list_is_skipped(tmp_path):
    assert read_vocabulary(Path(stored(tmp_path, "\ufeffthe\r\ncat\n"))) == {"\n": 0, "the": 1, "cat": 2}
    assert read_vocabulary(Path(stored(tmp_path, '\ufeff{"\\n": 0, "the": 1}'))) == {"\n": 0, "the": 1}
    assert read_vocabulary(Path(stored(tmp_path, "\ufeffthe a \nb a\rc\n"))) == {
        "\n": 0, "the": 1, "a": 2, "b": 3, "a\rc\n": 4,
    }  # fmt: skip


def test_pipes_inside_folders_are_not_opened(tmp_path):
    import os

    for name in ("words_text", "u.lat"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="neither an n-best folder"):
        read_nbest([str(tmp_path)])


def test_a_lattice_is_recognized_by_its_first_line(tmp_path):
    path = tmp_path / "lattice.txt"
    path.write_text("VERSION=1.0\nUTTERANCE=u\nN=2 L=1\nI=0\nI=1\nJ=0 S=0 E=1 W=hello a=-1 l=-2\n")
    assert recognize_format([str(path)]) == "htk"
    assert [each.text for each in read_nbest([str(path)]).lists[0].hypotheses] == ["hello"]
