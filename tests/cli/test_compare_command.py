import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def other(
    recurlm: Command, small_options: list[str], text_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A second run, of another seed and fewer epochs."""
    run = tmp_path_factory.mktemp("runs") / "other"
    options = [*small_options, "--set", "training.epochs=2", "--seed", "9"]
    done = recurlm("train", text_folder, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture(scope="module")
def bigrams(recurlm: Command, trained: Path, text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bigrams over the words of the first run."""
    path = tmp_path_factory.mktemp("ngrams") / "bigrams.arpa.gz"
    done = recurlm("ngram", text_folder, "--order", "2", "--vocabulary", trained, "--out", path)
    assert (done.returncode, done.stdout.strip()) == (0, str(path)), done.stderr
    return path


def test_compare_prints_one_object(
    recurlm: Command, trained: Path, other: Path, bigrams: Path, text_folder: Path
) -> None:
    done = recurlm("compare", trained, other, bigrams, text_folder, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["sentences"], result["protocol"], result["seed"]) == (20, "stream", 1)
    assert [model["model"] for model in result["models"]] == [str(trained), str(other), str(bigrams)]
    for model, run in zip(result["models"], (trained, other), strict=False):
        alone = json.loads(recurlm("eval", run, text_folder, "--json").stdout)
        assert model["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-6)
        assert model["interval"][0] <= model["perplexity"] <= model["interval"][1]
    assert [pair["models"] for pair in result["pairs"]] == [
        [str(trained), str(other)],
        [str(trained), str(bigrams)],
        [str(other), str(bigrams)],
    ]
    first = result["pairs"][0]
    assert set(first) == {
        "models", "difference", "p", "p_holm", "test", "patterns", "first_better", "second_better",
    }  # fmt: skip
    by_sentence = math.log(result["models"][1]["perplexity"] / result["models"][0]["perplexity"]) * 125 / 20
    assert first["difference"] == pytest.approx(by_sentence, rel=1e-4)
    assert (first["test"], first["patterns"]) == ("random", 10_000)
    assert "only 20 sentences" in result["warnings"][0]


def test_compare_prints_a_table_with_its_signatures(
    recurlm: Command, trained: Path, other: Path, text_folder: Path
) -> None:
    done = recurlm("compare", trained, other, text_folder, "--split", "valid", "--protocol", "sentence")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "fruit/valid: 16 sentences, 100 tokens"
    assert lines[2].split() == ["model", "perplexity", "95", "%", "interval", "bits", "per", "token", "oov"]
    assert lines[3].split()[:2] == ["1", str(trained)]
    assert any(line.startswith("1 and 2 ") for line in lines)
    assert sum(line.startswith("signature ") and "sentence|tokens=100|" in line for line in lines) == 2
    repeated = recurlm("compare", trained, other, text_folder, "--split", "valid", "--protocol", "sentence")
    assert repeated.stdout == done.stdout


def test_eval_with_another_model_mixes_them(
    recurlm: Command, trained: Path, other: Path, bigrams: Path, text_folder: Path
) -> None:
    done = recurlm("eval", trained, "--with", other, "--with", bigrams, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    alone = json.loads(recurlm("eval", trained, "--json").stdout)
    assert set(alone) < set(result)
    assert result["weights"] == "em"
    assert result["held_out"]["text"] == "fruit/valid"
    assert sum(model["weight"] for model in result["models"]) == pytest.approx(1)
    assert result["models"][0]["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-6)
    piped = recurlm(
        *("eval", trained, "-", "--split", "test", "--with", other),
        stdin="the red fruit is a cherry\n" * 57 + "the green fruit is a lime\n" * 3,
    )
    assert "fitted on standard-input/valid" in piped.stdout, piped.stderr
    shown = recurlm("eval", trained, "--with", other, "--weight", "0.25").stdout.splitlines()
    assert shown[0].endswith("perplexity  weight, as given")
    assert [line.split()[-1] for line in shown[1:3]] == ["0.2500", "0.7500"]
    assert "|weights=0.2500,0.7500|chosen=given|" in shown[-1]


def test_what_cannot_be_mixed_or_compared_is_refused(
    recurlm: Command, trained: Path, bigrams: Path, text_folder: Path
) -> None:
    test = text_folder / "test.txt"
    for code, arguments in (
        (2, ["eval", trained, "--weight", "0.5"]),
        (3, ["eval", trained, test, "--with", bigrams, "--held-out", test]),
        (2, ["eval", trained, "--with", bigrams, "--oov", "skip"]),
        (4, ["compare", trained, test, test]),
    ):
        done = recurlm(*arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert 1 <= len(done.stderr.splitlines()) <= 2
        assert done.stdout == ""


def test_ngram_says_what_it_estimated(recurlm: Command, text_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "trigrams.arpa"
    done = recurlm("ngram", text_folder / "train.txt", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [each["order"] for each in result["orders"]] == [1, 2, 3]
    # twelve words, <s> and </s>
    assert result["orders"][0]["ngrams"] == 14
    assert not result["orders"][2]["estimated"]
    assert result["orders"][2]["discounts"] == [0.5, 1.0, 1.5]
    assert "order 3: " in done.stderr
    assert "too regular a text to estimate discounts" in done.stderr
    comment, head = out.read_text().split("\n\n")[:2]
    assert result["digest"].removeprefix("sha256:") in comment
    assert head.startswith("\\data\\\nngram 1=14\n")
    refused = recurlm("ngram", text_folder / "train.txt", "--order", "9", "--out", out)
    assert refused.returncode == 3
    assert "use at most 8" in refused.stderr
