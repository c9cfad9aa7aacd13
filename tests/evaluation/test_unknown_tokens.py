"""Unknown tokens under each rule and protocol, against sums of single tokens by hand."""

import math

import numpy as np
import pytest

from recurlm.errors import InputError, UsageError
from recurlm.evaluation.protocols import mxnet_perplexity, perplexity, stream_perplexity
from recurlm.text.codec import Codec, EncodedText
from recurlm.text.tokenization import Words
from recurlm.text.unknown import UnknownRule
from recurlm.text.vocabulary import Vocabulary
from token_loops import step_by_step_nats

OPEN = Codec(Words(), Vocabulary(("<eos>", "<unk>", *"abcdefghijk")))
CLOSED = Codec(Words(), Vocabulary(("<eos>", *"abcdefghijkl")))
HOLED = "a b zebra c\n<unk> yak a\n"


@pytest.mark.parametrize("protocol", ["stream", "sentence"])
def test_unknown_tokens_count_by_their_rule(model, write_text, protocol):
    """Seven known tokens, one of them a written <unk>, two ends, and two that the vocabulary lacks."""
    ids = [2, 3, 1, 4, 0, 1, 1, 2, 0]
    if protocol == "stream":
        nats = step_by_step_nats(model, [0, *ids[:-1]], ids)
    else:
        nats = step_by_step_nats(model, [0, *ids[:4]], ids[:5]) + step_by_step_nats(model, [0, *ids[5:8]], ids[5:])
    known = sum(nats) - nats[2] - nats[6]
    text = write_text(HOLED)
    expected = {
        "unk": (sum(nats), 9, "2"),
        "skip": (known, 7, "skip:2"),
        "floor:-11.5": (known + 23, 9, "floor(-11.5):2"),
        "share:1000": (sum(nats) + 2 * math.log(1000), 9, "share(1000):2"),
    }
    for rule, (total, tokens, label) in expected.items():
        result = perplexity(model, OPEN.encode(text, UnknownRule.parse(rule)), protocol)
        assert result.nats == pytest.approx(total, rel=1e-6)
        assert result.tokens == tokens
        assert result.all_tokens == 9
        assert f"|tokens={tokens}|" in result.signature
        assert f"|oov={label}|" in result.signature
        assert result.without_oov == pytest.approx(math.exp(known / 7), rel=1e-6)
        assert (result.bits_per_character is None) == (rule == "skip")


def test_without_unk_unknown_tokens_are_not_read(model, write_text):
    """The model goes on as though they were not there; only what they are charged differs."""
    ids = [1, 2, 3, 0, 1, 0]
    nats = sum(step_by_step_nats(model, [0, *ids[:-1]], ids))
    text = write_text("a zebra b c\na yak\n")
    skipped = stream_perplexity(model, CLOSED.encode(text, UnknownRule("skip")))
    assert (skipped.nats, skipped.tokens) == (pytest.approx(nats, rel=1e-6), 6)
    charged = stream_perplexity(model, CLOSED.encode(text, UnknownRule("floor", -10.0)))
    assert (charged.nats, charged.tokens) == (pytest.approx(nats + 20, rel=1e-6), 8)
    with pytest.raises(InputError, match="line 1: the token 'zebra'"):
        CLOSED.encode(text)


def test_mxnets_protocol_has_no_other_rule(model, write_text):
    with pytest.raises(UsageError, match="mxnet counts unknown words as <unk> only"):
        mxnet_perplexity(model, OPEN.encode(write_text(HOLED), UnknownRule("skip")))


def test_mxnets_protocol_sets_unknown_tokens_apart(model, write_text):
    nats = step_by_step_nats(model, [2, 3, 1], [3, 1, 4]) + step_by_step_nats(model, [1, 1], [1, 2])
    result = mxnet_perplexity(model, OPEN.encode(write_text(HOLED)))
    assert result.without_oov == pytest.approx(math.exp((sum(nats) - nats[1] - nats[3]) / 3), rel=1e-6)


def test_a_text_of_unknown_tokens_alone_leaves_nothing_to_count(model, encoded):
    text = EncodedText(np.array([1], np.uint16), "made", "0" * 16, 5, 1, np.array([0]), rule=UnknownRule("skip"))
    with pytest.raises(InputError, match="none is left to count"):
        stream_perplexity(model, text)
