"""`score --column`: tables of stimuli, read back by pandas and held to a plain loop over the model's steps."""

import gzip
import io
import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
import torch

import recurlm as package

Command = Callable[..., subprocess.CompletedProcess[str]]
ROWS = [
    ("1", "usual", "the red fruit is a cherry", "np np np vp vp vp"),
    ("1", "odd, rare", "the red fruit is a lemon", "np np np vp vp vp"),
    ("2", 'so "usual"', "it is purple", "a b a"),
]
COLUMNS = ["item", "condition", "sentence", "regions"]


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.csv"
    pandas.DataFrame(ROWS, columns=COLUMNS).to_csv(path, index=False)
    return path


def read(output: str) -> pandas.DataFrame:
    return pandas.read_csv(io.StringIO(output), sep="\t", dtype={"item": str})


def stepped(run: Path, sentence: str) -> list[tuple[float, float, int]]:
    """Surprisal and entropy in bits and rank of each word and of <eos>, one step of the model at a time."""
    model = package.load(run)
    ids = model.codec.vocabulary.ids
    state, previous, found = model.network.initial_state(1), 0, []
    for word in [*sentence.split(" "), "<eos>"]:
        target = ids.get(word, ids["<unk>"])
        with torch.no_grad():
            logits, state = model.network(torch.tensor([[previous]]), state)
        chances = [chance.item() for chance in logits[0, 0].double().softmax(-1)]
        entropy = -sum(chance * math.log2(chance) for chance in chances if chance)
        found.append((-math.log2(chances[target]), entropy, 1 + sum(chance > chances[target] for chance in chances)))
        previous = target
    return found


def test_a_row_is_a_word_with_the_other_columns(recurlm: Command, trained: Path, items: Path) -> None:
    done = recurlm("score", trained, items, "--column", "sentence")
    assert done.returncode == 0, done.stderr
    frame = read(done.stdout)
    assert list(frame.columns) == [
        *("row", "item", "condition", "regions"),
        *("position", "word", "pieces", "surprisal", "entropy", "rank", "oov"),
    ]
    expected = [
        (row, item, condition, regions, position, word, *values, int(word == "purple"))
        for row, (item, condition, sentence, regions) in enumerate(ROWS, 1)
        for position, (word, values) in enumerate(
            zip(sentence.split(" "), stepped(trained, sentence)[:-1], strict=True), 1
        )
    ]
    found = frame.drop(columns="pieces")
    pandas.testing.assert_frame_equal(found, pandas.DataFrame(expected, columns=found.columns), rtol=1e-5, atol=1e-5)
    assert set(frame["pieces"]) == {1}
    assert "|rows=words(split=spaces,pieces=summed,entropy=first-piece,eos=apart)" in done.stderr.splitlines()[-1]


def test_a_row_is_a_sentence_with_format_lines(recurlm: Command, trained: Path, items: Path) -> None:
    done = recurlm("score", trained, items, "--column", "sentence", "--format", "lines")
    frame = read(done.stdout)
    assert list(frame.columns) == ["row", *COLUMNS, "words", "surprisal", "oov", "mean", "eos"]
    assert frame[COLUMNS].to_records(index=False).tolist() == ROWS
    for (_, _, sentence, _), row in zip(ROWS, frame.itertuples(), strict=True):
        *words, end = [bits for bits, _, _ in stepped(trained, sentence)]
        assert (row.words, row.oov) == (len(words), int("purple" in sentence))
        assert row.surprisal == pytest.approx(sum(words), rel=1e-5)
        assert row.mean == pytest.approx(sum(words) / len(words), rel=1e-5)
        assert row.eos == pytest.approx(end, abs=1e-5)
    # the existing format counts <eos>, in nats
    plain = recurlm("score", trained, "--format", "lines", stdin="".join(f"{row[2]}\n" for row in ROWS))
    totals = pandas.read_csv(io.StringIO(plain.stdout), sep="\t")["logprob"]
    assert ((frame["surprisal"] + frame["eos"]) * math.log(2)).tolist() == pytest.approx((-totals).tolist())


def test_regions_are_runs_of_one_label(recurlm: Command, trained: Path, items: Path) -> None:
    done = recurlm("score", trained, items, "--column", "sentence", "--region-column", "regions")
    assert done.returncode == 0, done.stderr
    frame = read(done.stdout)
    assert list(frame.columns) == [
        *("row", "item", "condition"),
        *("position", "region", "text", "words", "surprisal", "oov"),
    ]
    bits = [[value for value, _, _ in stepped(trained, sentence)] for _, _, sentence, _ in ROWS]
    assert list(zip(frame["row"], frame["position"], frame["region"], frame["text"], frame["words"], strict=True)) == [
        (1, 1, "np", "the red fruit", 3),
        (1, 2, "vp", "is a cherry", 3),
        (2, 1, "np", "the red fruit", 3),
        (2, 2, "vp", "is a lemon", 3),
        (3, 1, "a", "it", 1),
        (3, 2, "b", "is", 1),
        (3, 3, "a", "purple", 1),
    ]
    sums = [sum(bits[0][:3]), sum(bits[0][3:6]), sum(bits[1][:3]), sum(bits[1][3:6]), *bits[2][:3]]
    assert frame["surprisal"].tolist() == pytest.approx(sums, rel=1e-5)
    assert frame["oov"].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert "|rows=regions(" in done.stderr


def test_every_kind_of_table_gives_the_same_rows(recurlm: Command, trained: Path, items: Path, tmp_path: Path) -> None:
    frame = pandas.DataFrame(ROWS, columns=COLUMNS)
    frame.to_csv(tmp_path / "items.tsv", sep="\t", index=False)
    frame.to_json(tmp_path / "items.jsonl", orient="records", lines=True)
    (tmp_path / "items.csv.gz").write_bytes(gzip.compress(items.read_bytes()))
    expected = recurlm("score", trained, items, "--column", "sentence").stdout
    for name in ("items.tsv", "items.jsonl", "items.csv.gz"):
        assert recurlm("score", trained, tmp_path / name, "--column", "sentence").stdout == expected
    # a table with a byte order mark and carriage returns, as spreadsheets write it, from standard input
    content = b"\xef\xbb\xbf" + items.read_bytes().replace(b"\n", b"\r\n")
    piped = recurlm("score", trained, "-", "--table", "csv", "--column", "sentence", stdin=content)
    assert piped.stdout == expected


def test_json_has_the_rows_of_the_table(recurlm: Command, trained: Path, items: Path) -> None:
    for options in ([], ["--region-column", "regions"]):
        table = read(recurlm("score", trained, items, "--column", "sentence", *options).stdout)
        done = recurlm("score", trained, items, "--column", "sentence", "--json", *options)
        found = pandas.DataFrame(map(json.loads, done.stdout.splitlines()))
        pandas.testing.assert_frame_equal(found, table, rtol=1e-8)


def test_values_of_json_lines_keep_their_type_and_missing_ones_are_na(
    recurlm: Command, trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "items.jsonl"
    row = {"item": 7, "text": "it is purple", "age": None, "tags": ["a"], "regions": [1, 1, "x"]}
    path.write_text(json.dumps(row) + "\n")
    done = recurlm("score", trained, path, "--column", "text", "--region-column", "regions", "--oov", "skip", "--json")
    first, last = map(json.loads, done.stdout.splitlines())
    assert (first["item"], first["age"], first["tags"], first["region"]) == (7, None, ["a"], "1")
    assert (last["text"], last["words"], last["surprisal"], last["oov"]) == ("purple", 0, None, 1)
    table = recurlm("score", trained, path, "--column", "text", "--oov", "skip").stdout.splitlines()
    assert table[3].split("\t")[:6] == ["1", "7", "NA", '"[""a""]"', '"[1, 1, ""x""]"', "3"]
    assert table[3].split("\t")[6:] == ["purple", "1", "NA", *table[3].split("\t")[9:11], "1"]


def test_a_prompt_is_read_before_every_sentence(recurlm: Command, trained: Path, items: Path) -> None:
    done = recurlm("score", trained, items, "--column", "sentence", "--prompt", "it is sweet\n")
    model = package.load(trained)
    for score in model.score([ROWS[0][2]], state=model.read("it is sweet\n")):
        expected = [-token.logprob / math.log(2) for token in score.tokens[:-1]]
        assert read(done.stdout)["surprisal"].tolist()[: len(expected)] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("item,sentense\n1,it is\n", [], "line 1: there is no column 'sentence'; did you mean 'sentense'?"),
        ("item,sentence\n1,it is\n", ["--region-column", "region"], "line 1: there is no column 'region'"),
        ("", [], "the table is empty"),
        ("item,sentence\n", [], "the table has a header and no rows"),
        ("sentence,sentence\na,b\n", [], "line 1: 2 columns are named 'sentence'"),
        ('item,sentence\n1,it is\n2,"it\nis"\n', [], "line 3: 'sentence' contains a line feed"),
        ("item,sentence\n1,it is\n2, \n", [], "line 3: 'sentence' is empty"),
        ("word,sentence\n1,it is\n", [], "line 1: the output has a column 'word' of its own; rename yours"),
        (
            "sentence,regions\nit is,a b\nit is,a b c\n",
            ["--region-column", "regions"],
            "line 3: 'regions' has 3 labels and 'sentence' 2 words",
        ),
        ("sentence\nit is\n\nit <eos>\n", [], "line 4: holds the word <eos> itself"),
    ],
)
def test_bad_tables_are_refused_with_file_and_line(
    recurlm: Command, trained: Path, tmp_path: Path, content: str, options: list[str], message: str
) -> None:
    path = tmp_path / "items.csv"
    path.write_text(content)
    done = recurlm("score", trained, path, "--column", "sentence", *options)
    assert done.returncode == 3
    assert str(path) in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sentence_that_is_no_text_is_refused(recurlm: Command, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"sentence": "it is"}\n{"sentence": 5}\n')
    done = recurlm("score", trained, path, "--column", "sentence")
    assert (done.returncode, done.stderr.count("line 2: 'sentence' is 5, which is not a text")) == (3, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--region-column", "regions"], "add --column NAME"),
        (["--table", "csv"], "add --column NAME"),
        (["--column", "sentence", "--format", "kaldi"], "written as tsv, jsonl or lines"),
        (["--column", "sentence", "--format", "lines", "--region-column", "regions"], "drop it or --region-column"),
        (["--column", "sentence", "--region-column", "sentence"], "cannot hold their regions too"),
        (["--column", "sentence", "--log-base", "2"], "surprisal is in bits"),
        (["--column", "sentence", "--after", "|||"], "every word of a sentence counts"),
        (["--column", "sentence", "--context", "carry"], "every sentence is read alone"),
        (["--column", "sentence", "--unit", "word"], "a word as the reader sees it"),
    ],
)
def test_options_that_disagree_are_refused(
    recurlm: Command, trained: Path, items: Path, options: list[str], message: str
) -> None:
    done = recurlm("score", trained, items, *options)
    assert done.returncode == 2
    assert message in done.stderr
