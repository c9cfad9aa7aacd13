import itertools
import json
import math

import pytest
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import InputError
from recurlm.evaluation.perplexity import sentence_perplexity
from recurlm.evaluation.scores import LineScore
from recurlm.evaluation.scoring import ScoringOptions, score_lines
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

CODEC = Codec(Words(), Vocabulary(("<eos>", "<unk>", *"abcdefgh")))
CLOSED = Codec(Words(), Vocabulary(("<eos>", *"abcdefghi")))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(ModelOptions(embedding_size=8, hidden_sizes=(9, 8)), 10)
    initialise(made, UniformInitialisation(scale=0.8))
    return made.eval()


@pytest.fixture(scope="module")
def lines() -> list[str]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 25, (80,), generator=generator).tolist()
    return [
        " ".join("abcdefgh"[i] for i in torch.randint(8, (length,), generator=generator).tolist()) for length in lengths
    ]


def naive(model: LanguageModel, ids: list[int]) -> list[float]:
    """ln p of each id and of <eos>, one token at a time."""
    state = model.initial_state(1)
    scores = []
    with torch.no_grad():
        for token, target in itertools.pairwise([0, *ids, 0]):
            logits, state = model(torch.tensor([[token]]), state)
            scores.append(logits[0, 0].double().log_softmax(-1)[target].item())
    return scores


def logprobs(score: LineScore) -> list[float]:
    return [token.logprob for token in score.tokens]


def test_scores_are_a_loop_over_tokens_in_the_order_of_the_lines(model, lines):
    scores = list(score_lines(model, CODEC, lines))
    assert [score.text for score in scores] == lines
    assert [score.line for score in scores] == list(range(1, len(lines) + 1))
    for line, score in zip(lines, scores, strict=True):
        expected = naive(model, CODEC.line(line)[0])
        assert logprobs(score) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert score.logprob == pytest.approx(sum(expected), rel=1e-5)
        assert [token.token for token in score.tokens] == [*line.split(), "<eos>"]
        assert [token.id for token in score.tokens] == [*CODEC.line(line)[0], 0]


@pytest.mark.parametrize("budget", [1, 13, 400, 10**6])
def test_scores_depend_neither_on_the_budget_nor_on_their_neighbours(model, lines, budget):
    reference = {line: next(score_lines(model, CODEC, [line])).logprob for line in lines}
    for score in score_lines(model, CODEC, lines[::-1], ScoringOptions(budget=budget)):
        assert score.logprob == pytest.approx(reference[score.text], rel=1e-6)


def test_scores_depend_not_on_how_many_lines_are_held_at_once(monkeypatch, model, lines):
    reference = [score.logprob for score in score_lines(model, CODEC, lines)]
    monkeypatch.setattr("recurlm.evaluation.scoring.LINES_AT_ONCE", 7)
    scores = list(score_lines(model, CODEC, lines))
    assert [score.logprob for score in scores] == pytest.approx(reference, rel=1e-6)
    assert [score.line for score in scores] == list(range(1, len(lines) + 1))


def test_the_scores_of_a_text_add_up_to_its_sentence_perplexity(model, lines, write_text):
    text = CODEC.encode(write_text("".join(line + "\n" for line in lines)))
    total = math.fsum(score.logprob for score in score_lines(model, CODEC, lines))
    assert -total == pytest.approx(sentence_perplexity(model, text).nats, rel=1e-6)


def test_an_unknown_word_is_kept_as_written_and_marked(model):
    (score,) = score_lines(model, CODEC, ["a zebra <unk>"])
    assert [(token.token, token.id, token.oov) for token in score.tokens] == [
        ("a", 2, False),
        ("zebra", 1, True),
        ("<unk>", 1, False),
        ("<eos>", 0, False),
    ]
    assert logprobs(score) == pytest.approx(naive(model, [2, 1, 1]), rel=1e-5)


def test_without_unknown_the_word_and_its_line_are_named(model):
    with pytest.raises(InputError, match="line 2: the token 'zebra' is not in the vocabulary"):
        list(score_lines(model, CLOSED, ["a b", "a zebra"]))


def test_an_empty_line_is_a_sentence_of_eos_alone(model):
    (score,) = score_lines(model, CODEC, [""])
    assert [token.token for token in score.tokens] == ["<eos>"]
    assert logprobs(score) == pytest.approx(naive(model, []), rel=1e-5)
    assert list(score_lines(model, CODEC, [])) == []


def test_json_has_the_shape_of_the_contract(model):
    (score,) = score_lines(model, CODEC, ["a"])
    first, last = score.tokens
    assert json.loads(json.dumps(score.to_json())) == {
        "line": 1,
        "text": "a",
        "logprob": pytest.approx(first.logprob + last.logprob),
        "tokens": [
            {"token": "a", "id": 2, "logprob": first.logprob, "oov": False},
            {"token": "<eos>", "id": 0, "logprob": last.logprob, "oov": False},
        ],
    }


def test_lines_are_read_as_they_come(model):
    """Standard input need not end before the first block is scored."""
    read: list[int] = []

    def source():
        for number in itertools.count():
            read.append(number)
            yield "a b"

    scores = list(itertools.islice(score_lines(model, CODEC, source()), 3))
    assert [score.line for score in scores] == [1, 2, 3]
    assert len(read) <= 2048
