import csv
import io
import json
import math
import re

import pytest

from recurlm.errors import InputError, UsageError
from recurlm.scoring.formats import open_writer
from recurlm.scoring.scores import LineScore, Prediction, Totals

STRANGE = ['"a"', "tab\there", "NA", "über", "深", "'", "#", "\rcarriage", " ", "<eos>"]


def strange_line() -> LineScore:
    logprobs = [-float(place + 1) for place in range(len(STRANGE))]
    predictions = [Prediction(0.5, place + 1) for place in range(len(STRANGE))]
    return LineScore(3, "", STRANGE, range(10), logprobs, [place == 1 for place in range(10)], 2, None, predictions)


HALF, QUARTER = math.log(0.5), math.log(0.25)
KNOWN = LineScore(1, "a b", ["a", "b", "<eos>"], [2, 3, 0], [HALF, QUARTER, HALF], [False] * 3)
SKIPPED = LineScore(2, "a zebra", ["a", "zebra", "<eos>"], [2, 1, 0], [HALF, None, QUARTER], [False, True, False])


def test_a_table_is_what_pandas_reads():
    """With its defaults, but for the words such as NA that it would take for missing ones."""
    pandas = pytest.importorskip("pandas")
    writer = open_writer("tsv", None)
    text = writer.head() + writer.line(strange_line())
    frame = pandas.read_csv(io.StringIO(text), sep="\t", keep_default_na=False)
    assert frame["token"].tolist() == STRANGE
    assert frame["line"].tolist() == [3] * 10
    assert frame["position"].tolist() == list(range(3, 13))
    assert frame["logprob"].tolist() == [-float(place + 1) for place in range(10)]
    assert frame["surprisal"].tolist() == pytest.approx([(place + 1) / math.log(2) for place in range(10)])
    assert frame["entropy"].tolist() == pytest.approx([0.5 / math.log(2)] * 10)
    assert frame["rank"].tolist() == list(range(1, 11))
    assert frame["oov"].tolist() == [0, 1] + [0] * 8
    plain = pandas.read_csv(io.StringIO(text), sep="\t")
    assert [token for token in plain["token"] if isinstance(token, str)] == [t for t in STRANGE if t != "NA"]


def test_a_table_is_what_r_reads():
    """read.delim: tabs, a header, quotes doubled inside quotes, no comments, as many cells in every row."""
    writer = open_writer("tsv", None)
    rows = list(csv.reader(io.StringIO(writer.head() + writer.line(strange_line()), newline=""), dialect="excel-tab"))
    assert rows[0] == ["line", "position", "token", "id", "logprob", "surprisal", "entropy", "rank", "oov"]
    assert [row[2] for row in rows[1:]] == STRANGE
    assert {len(row) for row in rows} == {9}


def test_a_table_says_na_where_there_is_nothing():
    line = LineScore(2, "", ["zebra"], [None], [None], [True], predictions=[None])
    assert open_writer("tsv", None).line(line) == "2\t1\tzebra\tNA\tNA\tNA\tNA\tNA\t1\n"


@pytest.mark.parametrize(("base", "expected"), [("e", HALF), ("2", -1.0), ("10", math.log10(0.5))])
def test_logarithms_have_the_base_that_is_asked_for(base, expected):
    (token, *_) = json.loads(open_writer("jsonl", base).line(KNOWN))["tokens"]
    assert token["logprob"] == pytest.approx(expected)
    assert json.loads(open_writer("jsonl", base).line(KNOWN))["logprob"] == pytest.approx(4 * expected)
    assert float(open_writer("sentence", base).line(KNOWN)) == pytest.approx(4 * expected)
    assert open_writer("kaldi", base).scale == pytest.approx(expected / HALF)
    row = open_writer("tsv", base).line(KNOWN).splitlines()[0].split("\t")
    assert (float(row[4]), float(row[5])) == (pytest.approx(expected), pytest.approx(1.0))


def test_readable_text_marks_what_is_unknown_and_what_does_not_count():
    expected = "-3.0000\ta -1.000  zebra? -  <eos> -2.000\tmean -1.500  ppl 2.828\n"
    assert open_writer("text", "2").line(SKIPPED) == expected


def test_a_table_of_lines_has_mean_and_perplexity():
    """A skipped word leaves a half and a quarter: 1.5 bits a token."""
    writer = open_writer("lines", "2")
    assert writer.head() == "line\ttokens\toov\tlogprob\tmean\tperplexity\ttext\n"
    assert writer.line(SKIPPED) == "2\t2\t1\t-3\t-1.5\t2.82842712\ta zebra\n"
    nothing = LineScore(4, 'say "a"', ["zebra"], [None], [None], [True])
    assert writer.line(nothing) == '4\t0\t1\t0\tNA\tNA\t"say ""a"""\n'


def test_json_has_mean_and_perplexity_of_a_line_where_there_are_any():
    scored = json.loads(open_writer("jsonl", None).line(KNOWN))
    assert (scored["mean"], scored["perplexity"]) == (pytest.approx(-4 / 3 * math.log(2)), pytest.approx(2 ** (4 / 3)))
    nothing = json.loads(open_writer("jsonl", None).line(LineScore(4, "", ["zebra"], [None], [None], [True])))
    assert (nothing["mean"], nothing["perplexity"]) == (None, None)


def test_json_has_null_where_a_token_does_not_count():
    tokens = json.loads(open_writer("jsonl", None).line(SKIPPED))["tokens"]
    assert tokens[1] == {"token": "zebra", "id": 1, "logprob": None, "oov": True}


def test_srilms_layout():
    """As `ngram -debug 2 -ppl` prints a sentence; the counts leave the skipped word out, as SRILM does with OOVs."""
    writer = open_writer("srilm", None)
    totals = Totals()
    totals.add(KNOWN)
    totals.add(SKIPPED)
    assert writer.line(KNOWN) == (
        "a b\n"
        "\tp( a | <s> ) \t= [rnn] 0.5 [ -0.30103 ]\n"
        "\tp( b | a ...) \t= [rnn] 0.25 [ -0.60206 ]\n"
        "\tp( </s> | b ...) \t= [rnn] 0.5 [ -0.30103 ]\n"
        "1 sentences, 2 words, 0 OOVs\n"
        "0 zeroprobs, logprob= -1.20412 ppl= 2.51984 ppl1= 4\n\n"
    )
    assert writer.line(SKIPPED) == (
        "a zebra\n"
        "\tp( a | <s> ) \t= [rnn] 0.5 [ -0.30103 ]\n"
        "\tp( <unk> | a ...) \t= [OOV] 0 [ -inf ]\n"
        "\tp( </s> | <unk> ...) \t= [rnn] 0.25 [ -0.60206 ]\n"
        "1 sentences, 2 words, 1 OOVs\n"
        "0 zeroprobs, logprob= -0.90309 ppl= 2.82843 ppl1= 8\n\n"
    )
    foot = writer.foot(totals, "x.txt", "")
    assert foot.startswith("file x.txt: 2 sentences, 4 words, 1 OOVs\n0 zeroprobs, logprob= -2.10721 ppl= ")
    # 2^-7 over 3 words that count and 2 ends
    assert float(re.search(r"ppl= (\S+)", foot)[1]) == pytest.approx(2 ** (7 / 5), rel=1e-5)
    assert float(re.search(r"ppl1= (\S+)", foot)[1]) == pytest.approx(2 ** (7 / 3), rel=1e-5)


def test_srilm_counts_zero_probabilities():
    line = LineScore(1, "a", ["a", "<eos>"], [2, 0], [-math.inf, HALF], [False, False])
    text = open_writer("srilm", None).line(line)
    assert "\tp( a | <s> ) \t= [rnn] 0 [ -inf ]\n" in text
    assert "\n1 zeroprobs, " in text


def test_kaldis_lines_begin_with_an_utterance_and_end_with_its_cost():
    writer = open_writer("kaldi", None)
    assert list(writer.scored_parts(["utt-1 a b", "utt-2\ta", "utt-3"])) == ["a b", "a", ""]
    assert writer.line(KNOWN) == f"utt-1 {-4 * HALF:.9g}\n"
    assert writer.line(SKIPPED) == f"utt-2 {-3 * HALF:.9g}\n"
    with pytest.raises(InputError, match="line 2: empty; the format kaldi needs an utterance id"):
        list(writer.scored_parts(["utt-1 a", ""]))


def test_unknown_formats_and_bases_are_refused():
    with pytest.raises(UsageError, match="no format 'xml'; there are text, jsonl, tsv"):
        open_writer("xml", None)
    with pytest.raises(UsageError, match="must be e, 2 or 10"):
        open_writer("tsv", "3")
    with pytest.raises(UsageError, match="SRILM's layout uses base 10"):
        open_writer("srilm", "2")
