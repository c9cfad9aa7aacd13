"""Figures of texts whose documents restart the state, against loops over tokens and against the protocol sentence."""

import math
from dataclasses import replace

import numpy as np
import pytest

from recurlm.evaluation.adaptation import (
    MonteCarloDropout,
    Temperature,
    adapted_perplexity,
    token_costs,
)
from recurlm.evaluation.dynamic import DynamicSGD
from recurlm.evaluation.neural_cache import NeuralCache
from recurlm.evaluation.protocols import perplexity, sentence_perplexity, stream_perplexity, token_nats
from token_loops import step_by_step_nats


@pytest.fixture
def lines(sentences, encoded):
    return replace(encoded(sentences), document="line")


def nats_by_hand(model, text, starts: list[int]) -> np.ndarray:
    """-ln p of every token, each document alone: its first input is ``<eos>``, from zeros."""
    ids, nats = text.ids.tolist(), []
    for start, end in zip([0, *starts], [*starts, len(ids)], strict=True):
        nats += step_by_step_nats(model, [0, *ids[start : end - 1]], ids[start:end])
    return np.array(nats)


@pytest.fixture
def files(sentences, encoded):
    """The same sentences in three files."""
    text = encoded(sentences)
    return replace(text, file_starts=text.ends[[6, 30]])


def test_a_document_in_each_line_is_the_protocol_sentence(model, lines):
    stream, sentence = stream_perplexity(model, lines), sentence_perplexity(model, lines)
    assert stream.nats == pytest.approx(sentence.nats, rel=1e-6)
    assert stream.tokens == sentence.tokens
    np.testing.assert_allclose(token_nats(model, lines), token_nats(model, lines, "sentence"), rtol=1e-4, atol=1e-5)
    assert stream.nats != pytest.approx(stream_perplexity(model, replace(lines, document="file")).nats, rel=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_each_file_is_measured_as_if_it_were_alone(model, files, chunk):
    expected = nats_by_hand(model, files, files.file_starts.tolist())
    assert stream_perplexity(model, files, chunk=chunk).nats == pytest.approx(expected.sum(), rel=1e-6)


def test_each_document_between_blank_lines_is_measured_as_if_it_were_alone(model, encoded):
    text = replace(encoded([[3, 4], [5], [], [], [6, 2], [], [7]]), document="blank-line")
    assert token_nats(model, text) == pytest.approx(nats_by_hand(model, text, [7, 11]), rel=1e-5)


@pytest.mark.parametrize("warm_up", [0, 3, 40])
def test_columns_restart_with_the_documents_in_them_and_in_their_warm_up(model, lines, warm_up):
    """A column begins after at least one whole document of its warm-up, so only tokens before that are without it."""
    exact = stream_perplexity(model, lines)
    measured = stream_perplexity(model, lines, columns=4, warm_up=warm_up)
    assert measured.tokens == exact.tokens
    if warm_up == 40:  # longer than every sentence
        assert measured.nats == pytest.approx(exact.nats, rel=1e-6)
    else:
        assert measured.nats != pytest.approx(exact.nats, rel=1e-6)


def test_the_signature_names_the_documents_only_where_one_restarts_the_state(model, lines, files):
    state = {
        signature.split("|")[3]
        for signature in (stream_perplexity(model, text).signature for text in (lines, replace(lines, document="file")))
    }
    assert state == {"state=carried(document=line)", "state=carried"}
    assert "|state=carried(document=file)|" in stream_perplexity(model, files).signature
    assert "|state=carried|" in stream_perplexity(model, files.first(int(files.file_starts[0]), None)).signature
    for protocol in ("sentence", "mxnet"):
        assert "|state=zero|" in perplexity(model, lines, protocol).signature


def test_adaptation_that_changes_nothing_gives_the_static_figure_of_the_documents(model, lines):
    expected = token_nats(model, lines)
    for options in (
        Temperature(1.0),
        DynamicSGD(rate=0.0, segment=7),
        NeuralCache(share=0.0),
        MonteCarloDropout(passes=1, segment=11),
    ):
        np.testing.assert_allclose(token_costs(model, lines, options), expected, rtol=1e-4, atol=1e-5)


def test_an_adapted_figure_names_the_documents(model, lines):
    assert "|state=carried(document=line)|" in adapted_perplexity(model, lines, Temperature(2.0)).adapted.signature


def test_the_cache_remembers_the_documents_before(model, encoded):
    """Two equal documents: the cache makes the second more likely, although its state starts from zero."""
    text = replace(encoded([[3, 4, 5, 6, 7]] * 2), document="line")
    static = token_nats(model, text)
    assert static[:6] == pytest.approx(static[6:], rel=1e-5)
    costs = token_costs(model, text, NeuralCache(share=0.5))
    assert costs[6:].sum() < static[6:].sum() - math.log(1.5)
