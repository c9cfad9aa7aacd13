import math

import pytest
import torch

import recurlm.evaluation.token_losses as token_losses_module
from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.perplexity import perplexity_of
from recurlm.evaluation.protocols import (
    mxnet_perplexity,
    perplexity,
    sentence_perplexity,
    stream_perplexity,
    token_nats,
)
from recurlm.evaluation.token_losses import token_losses
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import Codec
from recurlm.text.sources import Text
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary
from recurlm.version import CODE_VERSION
from token_loops import VOCABULARY, step_by_step_nats


def test_the_stream_is_a_loop_over_tokens(model, sentences, encoded):
    text = encoded(sentences)
    ids = text.ids.tolist()
    nats = step_by_step_nats(model, [0, *ids[:-1]], ids)
    result = stream_perplexity(model, text)
    assert result.tokens == len(ids)
    assert result.nats == pytest.approx(sum(nats), rel=1e-6)
    assert result.value == pytest.approx(math.exp(sum(nats) / len(ids)), rel=1e-6)
    assert result.bits_per_token == pytest.approx(sum(nats) / len(ids) / math.log(2), rel=1e-6)
    assert result.bits_per_character == pytest.approx(sum(nats) / text.characters / math.log(2), rel=1e-6)


def test_the_stream_does_not_depend_on_the_chunk(model, sentences, encoded):
    text = encoded(sentences)
    whole = stream_perplexity(model, text, chunk=100_000)
    for chunk in (1, 7, 64, 512):
        other = stream_perplexity(model, text, chunk=chunk)
        assert other.nats == pytest.approx(whole.nats, rel=1e-6)
        assert other.signature == whole.signature


@pytest.mark.parametrize("columns", [2, 5, 7])
def test_columns_are_pieces_that_each_start_from_zero_state(model, sentences, encoded, columns):
    text = encoded(sentences)
    ids = text.ids.tolist()
    rows = -(-len(ids) // columns)
    before = [0, *ids[:-1]]
    nats = sum(
        sum(step_by_step_nats(model, before[start : start + rows], ids[start : start + rows]))
        for start in range(0, len(ids), rows)
    )
    result = stream_perplexity(model, text, columns=columns, chunk=50)
    assert result.tokens == len(ids)
    assert result.nats == pytest.approx(nats, rel=1e-6)
    assert f"|columns={columns}|" in result.signature
    assert result.nats != pytest.approx(stream_perplexity(model, text).nats, rel=1e-6)


@pytest.mark.parametrize(("columns", "warm_up"), [(2, 8), (5, 1), (5, 8), (5, 1000)])
def test_warm_columns_begin_after_eos_and_the_tokens_before_them(model, sentences, encoded, columns, warm_up):
    text = encoded(sentences)
    ids = text.ids.tolist()
    rows = -(-len(ids) // columns)
    read = min(warm_up, rows - 1)
    nats = []
    for start in range(0, len(ids), rows):
        before = [] if start == 0 else [0, *ids[start - 1 - read : start - 1]]
        column = ids[start : start + rows]
        targets = [*before[1:], ids[start - 1], *column] if start else column
        nats += step_by_step_nats(model, [*before, *([0, *ids][start : start + len(column)])], targets)[-len(column) :]
    result = stream_perplexity(model, text, columns=columns, warm_up=warm_up, chunk=50)
    assert result.tokens == len(ids)
    assert result.nats == pytest.approx(sum(nats), rel=1e-6)
    assert f"|columns={columns}|warm-up={read}|" in result.signature


def test_warm_columns_come_near_the_exact_stream(model, sentences, encoded):
    text = encoded(sentences)
    exact = stream_perplexity(model, text)
    cold = stream_perplexity(model, text, columns=7)
    warm = stream_perplexity(model, text, columns=7, warm_up=32)
    assert abs(warm.nats - exact.nats) < abs(cold.nats - exact.nats) / 100
    assert stream_perplexity(model, text, warm_up=32).signature == exact.signature


class Trap(LanguageModel):
    """Falls into a state that it never leaves where it reads any token but ``<eos>`` after zeros."""

    def hidden(self, tokens, state, restarts=None):
        hidden, after = super().hidden(tokens, state, restarts)
        fresh = torch.stack([layer.abs().sum(1) == 0 for layer in state[0]]).all(0)
        trapped = (fresh & (tokens[0] != 0)) | (state[0][0][:, 0] > 50)
        after[0][0][trapped, 0] = 100.0
        return torch.where(trapped[None, :, None], 100.0, hidden), after


def test_no_column_falls_into_a_state_that_the_exact_stream_never_has(sentences, encoded):
    torch.manual_seed(0)
    trap = Trap(ModelOptions(embedding_size=8, hidden_sizes=(8,)), VOCABULARY).eval()
    initialise(trap, UniformInitialisation(scale=0.3))
    text = encoded(sentences)
    exact = stream_perplexity(trap, text).value
    assert stream_perplexity(trap, text, columns=7).value > 1.5 * exact
    assert stream_perplexity(trap, text, columns=7, warm_up=64).value == pytest.approx(exact, rel=0.01)


def test_a_part_of_a_text_is_its_first_tokens_and_says_so(model, sentences, encoded):
    text = encoded(sentences)
    part = text.first(100, None)
    nats = step_by_step_nats(model, [0, *text.ids[:99].tolist()], text.ids[:100].tolist())
    result = stream_perplexity(model, part)
    assert (result.tokens, result.nats) == (100, pytest.approx(sum(nats), rel=1e-6))
    assert "|tokens=100|" in result.signature
    assert "|part=first:100|text=sha256:01234567|" in result.signature
    assert result.bits_per_character is None
    ends = text.first(100, None, whole_sentences=True)
    assert ends.part == max(end for end in text.ends if end <= 100) == len(ends.ids)
    assert text.first(0, None, whole_sentences=True).part == text.ends[0]


def test_a_part_counts_its_own_unknown_tokens(encoded):
    sentences = [[3, 1], [2, 1], [4]]
    assert encoded(sentences, oov=2).first(3, 1).oov == 1
    assert encoded(sentences, oov=0).first(3, 1).oov == 0
    mixed = encoded(sentences, oov=1).first(6, 1)  # one of both was written <unk>
    assert (mixed.oov, mixed.oov_is_bound) == (1, True)


def test_more_columns_than_tokens(model, encoded):
    text = encoded([[1, 2]])
    nats = sum(step_by_step_nats(model, [token], [after])[0] for token, after in [(0, 1), (1, 2), (2, 0)])
    assert stream_perplexity(model, text, columns=5).nats == pytest.approx(nats, rel=1e-6)


def test_sentences_are_loops_over_tokens_from_a_zero_state(model, sentences, encoded):
    nats = sum(sum(step_by_step_nats(model, [0, *s], [*s, 0])) for s in sentences)
    result = sentence_perplexity(model, encoded(sentences))
    assert result.tokens == sum(len(s) + 1 for s in sentences)
    assert result.nats == pytest.approx(nats, rel=1e-6)


def test_sentences_depend_neither_on_budget_nor_on_order(model, sentences, encoded):
    reference = sentence_perplexity(model, encoded(sentences)).nats
    for budget in (1, 10, 200, 10**6):
        assert sentence_perplexity(model, encoded(sentences), budget=budget).nats == pytest.approx(reference, rel=1e-6)
    assert sentence_perplexity(model, encoded(sentences[::-1])).nats == pytest.approx(reference, rel=1e-6)


def mxnet_nats(model: LanguageModel, sentence: list[int]) -> list[float]:
    """The seed's: the words after the first, from the words before them."""
    return step_by_step_nats(model, sentence[:-1], sentence[1:])


def test_a_sentence_longer_than_the_budget_is_read_in_pieces(model, encoded, monkeypatch):
    text = encoded([[number % 6 + 2 for number in range(97)], [3, 4]])
    whole = sentence_perplexity(model, text)
    lengths = []
    monkeypatch.setattr(token_losses_module, "token_losses", lambda *a: lengths.append(len(a[1])) or token_losses(*a))
    assert sentence_perplexity(model, text, budget=10).nats == pytest.approx(whole.nats, rel=1e-6)
    assert max(lengths) == 10
    assert sum(lengths) == 98 + 3


def test_mxnet_counts_words_after_the_first(model, sentences, encoded):
    nats = [n for s in sentences for n in mxnet_nats(model, s)]
    result = mxnet_perplexity(model, encoded(sentences))
    assert result.tokens == len(nats) == sum(max(len(s) - 1, 0) for s in sentences)
    assert result.nats == pytest.approx(sum(nats), rel=1e-6)
    assert result.characters is None
    assert result.bits_per_character is None


def test_mxnet_drops_the_remainders_of_each_bucket_and_what_is_too_long(model, encoded):
    # with <eos> the lengths are 3 3 3 5 5 9: bucket 4 holds three, bucket 6 two, none holds the last
    sentences = [[1, 2], [3, 4], [5, 6], [7, 8, 9, 10], [2, 4, 6, 8], [1, 3, 5, 7, 9, 11, 2, 4]]
    kept = sentences[:2] + sentences[3:5]
    nats = [n for s in kept for n in mxnet_nats(model, s)]
    result = mxnet_perplexity(model, encoded(sentences), buckets=(4, 6), full_batches=2)
    assert result.tokens == 8
    assert result.nats == pytest.approx(sum(nats), rel=1e-6)
    assert result.signature == (
        "mxnet|tokens=8|eos=not-counted|state=zero|oov=0|first-word=given|buckets=4,6|full-batches=2|dropped=2"
        f"|text=sha256:01234567|recurlm={CODE_VERSION}"
    )
    without = mxnet_perplexity(model, encoded(sentences), buckets=(4, 6))
    assert without.tokens == 9
    assert "|dropped=1|" in without.signature
    assert "full-batches" not in without.signature


def test_mxnet_floors_probabilities(encoded):
    certain = zero_model()
    with torch.no_grad():
        certain.decoder.bias[1] = 1000.0
    result = mxnet_perplexity(certain, encoded([[1, 1, 2]]))
    assert result.nats == pytest.approx(-math.log(1e-10), rel=1e-6)


def test_mxnet_without_anything_to_count_is_refused(model, encoded):
    with pytest.raises(InputError, match="made: no token is left to count"):
        mxnet_perplexity(model, encoded([[1, 2, 3], [4]]), full_batches=2, buckets=(2, 4))


def zero_model() -> LanguageModel:
    made = LanguageModel(ModelOptions(embedding_size=4, hidden_sizes=(4,)), VOCABULARY).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    return made


@pytest.mark.parametrize("protocol", ["stream", "sentence", "mxnet"])
def test_a_model_that_knows_nothing_has_the_vocabularys_size_as_perplexity(sentences, encoded, protocol):
    assert perplexity(zero_model(), encoded(sentences), protocol).value == pytest.approx(VOCABULARY, rel=1e-6)


@pytest.mark.parametrize(
    ("protocol", "signature"),
    [
        ("stream", "stream|tokens=6|eos=counted|state=carried|oov=2|text=sha256:01234567|recurlm="),
        ("sentence", "sentence|tokens=6|eos=counted|state=zero|oov=2|text=sha256:01234567|recurlm="),
        (
            "mxnet",
            "mxnet|tokens=2|eos=not-counted|state=zero|oov=2|first-word=given|buckets=10,20,40,60,80|dropped=0"
            "|text=sha256:01234567|recurlm=",
        ),
    ],
)
def test_the_signature_and_the_json_say_what_was_counted(model, encoded, protocol, signature):
    result = perplexity(model, encoded([[1, 2], [3, 4]], oov=2), protocol)
    assert result.signature == signature + CODE_VERSION
    assert result.to_json() == {
        "perplexity": result.value,
        "perplexity_without_oov": None,
        "bits_per_token": result.bits_per_token,
        "bits_per_character": result.bits_per_character,
        "tokens": result.tokens,
        "oov": 2,
        "protocol": protocol,
        "signature": result.signature,
    }


def test_the_cost_of_every_token_stands_at_its_place(model, sentences, encoded):
    text = encoded(sentences)
    ids = text.ids.tolist()
    assert token_nats(model, text) == pytest.approx(step_by_step_nats(model, [0, *ids[:-1]], ids), rel=1e-5)
    alone = [nats for s in sentences for nats in step_by_step_nats(model, [0, *s], [*s, 0])]
    assert token_nats(model, text, "sentence") == pytest.approx(alone, rel=1e-5)


def test_an_unknown_protocol_is_refused(model, encoded):
    with pytest.raises(UsageError, match="'streams'; there are stream, sentence, mxnet"):
        perplexity(model, encoded([[1]]), "streams")


@pytest.mark.parametrize("protocol", ["stream", "sentence", "mxnet"])
def test_ticks_tell_every_token_of_the_text(model, sentences, encoded, protocol):
    ticks: list[int] = []
    text = encoded(sentences)
    perplexity(model, text, protocol, tick=ticks.append)
    assert sum(ticks) == len(text.ids)


@pytest.mark.shared_data
def test_penn_treebank_test_has_82430_tokens(shared_data):
    text = Text("test", shared_data / "ptb" / "ptb.test.txt")
    counts: dict[str, int] = {}
    for line in text.lines():
        for word in line.split():
            counts[word] = counts.get(word, 0) + 1
    encoded = Codec(Words(), Vocabulary.build(counts, unknown=False)).encode(text)
    model = LanguageModel(ModelOptions(embedding_size=2, hidden_sizes=(2,)), len(counts) + 1).eval()
    assert stream_perplexity(model, encoded, columns=64).signature.startswith(
        "stream|tokens=82430|eos=counted|state=carried|oov=0|columns=64|text=sha256:dd65dff3|"
    )


@pytest.mark.parametrize("protocol", ["stream", "sentence"])
def test_the_nats_of_tokens_make_the_perplexity_of_their_protocol(model, sentences, encoded, protocol):
    text = encoded(sentences)
    measured = perplexity(model, text, protocol)
    made = perplexity_of(text, token_nats(model, text, protocol), protocol)
    assert made.signature == measured.signature
    assert made.value == pytest.approx(measured.value, rel=1e-6)
    marked = perplexity_of(text, token_nats(model, text, protocol), protocol, state="<s>", order=3)
    assert marked.signature.startswith(f"{protocol}|tokens={len(text.ids)}|eos=counted|state=<s>|oov=0|order=3|text=")


@pytest.mark.parametrize("protocol", ["stream", "sentence"])
def test_ticks_tell_every_token_whose_cost_is_found(model, sentences, encoded, protocol):
    ticks: list[int] = []
    text = encoded(sentences)
    token_nats(model, text, protocol, tick=ticks.append)
    assert sum(ticks) == len(text.ids)
