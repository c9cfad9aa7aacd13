import math
from pathlib import Path

import numpy as np
import pytest

from recurlm.comparison.contenders import open_contenders
from recurlm.comparison.report import compare
from recurlm.errors import InputError
from recurlm.interface.model import load

LINES = ["the cat sat", "the dog sat on the mat", "a owl sat", "", "on a mat the dog sat"] * 8


@pytest.fixture
def text(write_text):
    return write_text("".join(f"{line}\n" for line in LINES))


def test_a_comparison_adds_up_from_the_scores_of_lines(make_run, text):
    """Everything again from `Model.score`, line by line."""
    runs = [make_run("one", 1), make_run("two", 2)]
    result = compare(open_contenders(runs), text, protocol="sentence")
    scores = [load(run).score(LINES) for run in runs]
    nats = [[-line.logprob for line in lines] for lines in scores]
    tokens = sum(len(line.tokens) for line in scores[0])
    for measurement, (low, high), sums in zip(result.measurements, result.intervals, nats, strict=True):
        value = math.exp(sum(sums) / tokens)
        assert measurement.perplexity.value == pytest.approx(value, rel=1e-5)
        assert low < value < high
    (pair,) = result.pairs
    assert pair.test.difference == pytest.approx(np.mean(np.subtract(nats[1], nats[0])), rel=1e-4)
    gained: dict[str, float] = {}
    for first, second in zip(*scores, strict=True):
        for one, other in zip(first.tokens, second.tokens, strict=True):
            gained[one.token] = gained.get(one.token, 0) + one.logprob - other.logprob
    found = {token.token: token.nats for token in pair.first_better}
    found |= {token.token: -token.nats for token in pair.second_better}
    assert found == pytest.approx(gained, rel=1e-4, abs=1e-4)
    assert {token.token: token.count for token in pair.first_better + pair.second_better}["owl"] == 8
    assert result.warnings == []


def test_a_model_beside_itself_differs_in_nothing(make_run, text):
    run = make_run("one", 1)
    result = compare(open_contenders([run, run]), text)
    (pair,) = result.pairs
    assert (pair.test.difference, pair.test.p, pair.first_better, pair.second_better) == (0, 1, [], [])


def test_every_pair_is_tested_and_p_is_adjusted(make_run, arpa, text):
    result = compare(open_contenders([make_run("one", 1), make_run("two", 2), arpa]), text)
    assert [(pair.first, pair.second) for pair in result.pairs] == [(0, 1), (0, 2), (1, 2)]
    smallest = min(pair.test.p for pair in result.pairs)
    assert min(pair.adjusted_p for pair in result.pairs) == pytest.approx(min(1, 3 * smallest))


def test_different_vocabularies_and_few_sentences_are_said(make_run, write_text):
    runs = [make_run("one", 1), make_run("two", 2, ("<eos>", "<unk>", "the", "cat"))]
    result = compare(open_contenders(runs), write_text("the cat sat\n" * 20))
    assert [each.perplexity.oov for each in result.measurements] == [0, 20]
    vocabularies, few, unknown = result.warnings
    assert "the vocabularies differ (sizes 9, 4)" in vocabularies
    assert few.startswith("only 20 sentences:")
    assert "lacks 20 of 80 tokens (25.0%)" in unknown
    assert f"recurlm vocabulary {runs[1]} --extend" in unknown


@pytest.mark.parametrize(("sentences", "warnings"), [(29, 1), (30, 0)])
def test_thirty_sentences_are_not_few(make_run, write_text, sentences, warnings):
    result = compare(open_contenders([make_run("one", 1)] * 2), write_text("the cat sat\n" * sentences))
    assert len([each for each in result.warnings if "intervals are too narrow" in each]) == warnings


@pytest.mark.parametrize("sentences", [10, 40])
def test_the_json_has_every_model_and_every_pair(make_run, write_text, sentences):
    runs = [str(make_run("one", 1)), str(make_run("two", 2))]
    text = write_text("the cat sat\na dog sat on the mat\n" * (sentences // 2))
    result = compare(open_contenders(list(map(Path, runs))), text, seed=3)
    json = result.to_json()
    assert (json["text"], json["digest"], json["protocol"]) == (text.name, f"sha256:{text.sha256}", "stream")
    assert (json["sentences"], json["seed"], json["warnings"]) == (sentences, 3, result.warnings)
    assert [model["model"] for model in json["models"]] == runs
    for model, measurement, interval in zip(json["models"], result.measurements, result.intervals, strict=True):
        assert model["perplexity"] == measurement.perplexity.value
        assert model["interval"] == list(interval)
    (pair,), (tested,) = json["pairs"], result.pairs
    assert pair["models"] == runs
    assert (pair["difference"], pair["p"], pair["p_holm"]) == (tested.test.difference, tested.test.p, tested.adjusted_p)
    assert (pair["test"], pair["patterns"]) == (("exact", 1024) if sentences == 10 else ("random", 10_000))
    assert pair["first_better"] == [token.to_json() for token in tested.first_better]
    assert pair["second_better"] == [token.to_json() for token in tested.second_better]


def test_a_probability_of_zero_is_refused_with_its_place(arpa, text):
    arpa.write_text(arpa.read_text().replace("-1\tmat", "-99\tmat"))
    with pytest.raises(InputError, match=r"probability zero to 16 tokens, first to 'mat' in line 2"):
        compare(open_contenders([arpa]), text)
