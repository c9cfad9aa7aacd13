import gzip
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest

from recurlm.errors import CorruptFileError, InputError
from recurlm.ngrams import arpa
from recurlm.ngrams.arpa import COMMENT, read_arpa, write_arpa
from recurlm.ngrams.kneser_ney import kneser_ney, text_codec
from recurlm.text.recorded import LearnedText

ARPA = """made by hand

\\data\\
ngram 1=5
ngram 2=2
ngram 3=1

\\1-grams:
-99\t<s>\t-0.5
-0.7\t</s>
-0.4\ta\t-0.25
-0.6\tb\t-0.125
-1\t<unk>

\\2-grams:
-0.2\t<s> a\t-0.1
-0.3 b </s>

\\3-grams:
-0.05\t<s> a b

\\end\\
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.arpa"
    path.write_text(ARPA)
    return path


def log10(path: Path, text: str) -> list[float]:
    model = read_arpa(path)
    known = model.vocabulary.ids
    ids = np.array([known.get(token, known["<unk>"]) for token in text.split()])
    return (model.token_nats(ids) / -math.log(10)).tolist()


def test_logarithms_of_a_file_add_up_by_hand(path):
    # b after <s> a is listed; </s> after a b: a b is not listed, b </s> is; then a after <s>, and
    # </s> after <s> a: bow(<s> a) bow(a) p(</s>)
    assert log10(path, "a b <eos> a <eos>") == pytest.approx([-0.2, -0.05, -0.3, -0.2, -0.1 - 0.25 - 0.7])
    # z is unknown: bow(<s>) p(<unk>); b after <unk>: p(b)
    assert log10(path, "z b <eos>") == pytest.approx([-0.5 - 1, -0.6, -0.3])


def test_compressed_files_and_windows_line_ends_are_read(tmp_path):
    packed, windows = tmp_path / "model.arpa.gz", tmp_path / "windows.arpa"
    packed.write_bytes(gzip.compress(ARPA.encode()))
    windows.write_bytes(ARPA.replace("\n", "\r\n").encode())
    for path in (packed, windows):
        assert log10(path, "a b <eos>") == pytest.approx([-0.2, -0.05, -0.3])


@pytest.mark.parametrize("name", ["again.arpa", "again.arpa.gz"])
def test_a_written_file_is_read_back_the_same(path, tmp_path, name):
    model = read_arpa(path)
    write_arpa(model, tmp_path / name)
    again = read_arpa(tmp_path / name)
    assert again.words == model.words
    for one, other in zip(model.levels, again.levels, strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_allclose(one.log_probabilities, other.log_probabilities)
        np.testing.assert_allclose(one.back_offs, other.back_offs)
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith("partial")] == []


def test_words_of_every_script_are_kept_whole(tmp_path):
    path = tmp_path / "script.arpa"
    path.write_text(ARPA.replace("a", "猫\u3000").replace("d猫\u3000t猫\u3000", "data").replace("gr猫\u3000m", "gram"))
    assert "猫\u3000" in read_arpa(path).words


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("\\data\\", "data", r"model.arpa: not an ARPA file"),
        ("ngram 2=2", "ngram 3=2", r"line 5: the count of 2-grams"),
        ("ngram 2=2", "ngram 2=3", r"line 19: one of 3 2-grams"),
        ("ngram 2=2", "ngram 2=1", r"line 17: \\3-grams: is expected"),
        ("-0.7\t</s>", "-0.7", r"line 10: one of 5 1-grams"),
        ("-0.7\t</s>", "x\t</s>", r"line 10: 'x'"),
        ("-0.7\t</s>", "0.7\t</s>", r"line 10: 0.7 is not"),
        ("-0.7\t</s>", "nan\t</s>", r"line 10: nan is not"),
        ("<s>\t-0.5", "<s>\t1e308", r"line 9: .* 1e308 not that of a weight"),
        ("<s>\t-0.5", "<s>\t99.5", r"line 9: .* 99.5 not that of a weight"),
        ("<s> a b", "<s> a c", r"line 20: the word 'c'"),
        ("-0.7\t</s>", "-0.7\t</S>", r"line 17: the word '</s>'"),
        ("\\end\\", "", r"ends before \\end"),
        ("b </s>", "<s> a", r"the 2-gram '<s> a' is listed twice"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(path, old, new, complaint):
    path.write_text(ARPA.replace(old, new, 1))
    with pytest.raises(CorruptFileError, match=complaint):
        read_arpa(path)


def test_weights_and_logarithms_may_be_their_largest_values(path):
    path.write_text(ARPA.replace("-0.7\t</s>", "0\t</s>").replace("<s>\t-0.5", "<s>\t99"))
    model = read_arpa(path)
    assert model.levels[0].log_probabilities[model.words.index("</s>")] == 0
    assert model.levels[0].back_offs[model.words.index("<s>")] == pytest.approx(99 * math.log(10))


def test_an_arpa_file_has_ngrams_of_32_words_at_most(path):
    for order, said in ((32, "the head gives|is expected here"), (33, "n-grams of more than 32 words")):
        head = "".join(f"ngram {each}=1\n" for each in range(1, order + 1))
        path.write_text(f"\\data\\\n{head}" + "# a comment to make room\n" * 99)
        with pytest.raises(CorruptFileError, match=said):
            read_arpa(path)


@pytest.mark.parametrize(
    ("count", "said"), [(20, "one of 20 1-grams is expected"), (21, "more than 80 bytes can hold")]
)
def test_a_head_may_announce_an_ngram_for_each_four_bytes(path, count, said):
    content = f"\\data\\\nngram 1={count}\n\\1-grams:\nx"
    path.write_text(content.ljust(80))
    with pytest.raises(CorruptFileError, match=said):
        read_arpa(path)


def test_the_largest_number_of_ngrams_is_the_documented_one(path, monkeypatch):
    assert arpa.MOST_NGRAMS == 500_000_000
    monkeypatch.setattr(arpa, "MOST_NGRAMS", 5)
    read_arpa(path)
    monkeypatch.setattr(arpa, "MOST_NGRAMS", 4)
    with pytest.raises(CorruptFileError, match="more than 4 n-grams of one order"):
        read_arpa(path)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_arpa(tmp_path / "none.arpa")
    short, latin, end = tmp_path / "short.arpa.gz", tmp_path / "latin.arpa", tmp_path / "end.arpa"
    short.write_bytes(gzip.compress(ARPA.encode())[:-20])
    with pytest.raises(CorruptFileError, match=r"short.arpa.gz is not a whole gzip file"):
        read_arpa(short)
    latin.write_bytes(ARPA.replace("\ta\t", "\té\t").encode("latin-1"))
    with pytest.raises(CorruptFileError, match=r"latin\.arpa, line 11: not UTF-8"):
        read_arpa(latin)
    end.write_text("\\data\\\nngram 1=1\n\\1-grams:\n-1\t<s>\n\\end\\\n")
    with pytest.raises(CorruptFileError, match="lack </s>"):
        read_arpa(end)


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_a_written_file_says_which_text_it_was_estimated_from(write_text, tmp_path, name):
    text = write_text("a b c\nb c a\nc a b b\n" * 5)
    model, _ = kneser_ney(text, text_codec(text), 2)
    write_arpa(model, tmp_path / name)
    assert read_arpa(tmp_path / name).learned == (LearnedText.of(text),)
    content = (tmp_path / name).read_bytes()
    head = (gzip.decompress(content) if name.endswith(".gz") else content).partition(b"\\data\\")[0].splitlines()
    assert hashlib.sha256(text.path.read_bytes()).hexdigest().encode() in head[0]
    assert all(not line or line.startswith(b"#") for line in head)  # what KenLM asks of lines before the head


def test_files_of_other_programs_say_nothing_of_their_text(path):
    assert read_arpa(path).learned == ()
    path.write_text("# made by hand\n" + ARPA)
    assert read_arpa(path).learned == ()


@pytest.mark.parametrize(
    "value", ["", "{}", '{"learned": 1}', '{"learned": [{}]}', '{"learned": [{"digest": 1}]}', "[" * 999]
)
def test_a_comment_that_was_altered_is_refused_with_its_line(path, value):
    path.write_text(f"\n{COMMENT}{value}\n{ARPA}")
    with pytest.raises(CorruptFileError, match=r"model\.arpa, line 2: "):
        read_arpa(path)


def test_a_logarithm_far_below_that_of_zero_is_that_of_zero(path):
    path.write_text(ARPA.replace("-0.6\tb", "-1e308\tb"))
    model = read_arpa(path)
    assert model.levels[0].log_probabilities[model.words.index("b")] == -math.inf
