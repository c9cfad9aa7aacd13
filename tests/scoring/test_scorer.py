import itertools
import json
import math
import random

import pytest
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.protocols import sentence_perplexity
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import initial_state, state_after
from recurlm.scoring import scorer
from recurlm.scoring.scorer import Scorer, ScoringOptions, score_lines, scoring_options
from recurlm.scoring.scores import LineScore
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Characters, Words
from recurlm.text.unknown import UnknownRule
from recurlm.text.vocabulary import Vocabulary

CODEC = Codec(Words(), Vocabulary(("<eos>", "<unk>", *"abcdefgh")))
CLOSED = Codec(Words(), Vocabulary(("<eos>", *"abcdefghi")))


def make(options: ModelOptions, vocabulary: int) -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(options, vocabulary)
    initialise(made, UniformInitialisation(scale=0.8))
    return made.eval()


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return make(ModelOptions(embedding_size=8, hidden_sizes=(9, 8)), 10)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 25, (80,), generator=generator).tolist()
    return [
        " ".join("abcdefgh"[i] for i in torch.randint(8, (length,), generator=generator).tolist()) for length in lengths
    ]


def distributions(model: LanguageModel, ids: list[int]) -> list[torch.Tensor]:
    """ln p (V) of what may follow <eos> and each id, one token at a time."""
    state = model.initial_state(1)
    found = []
    with torch.no_grad():
        for token in [0, *ids]:
            logits, state = model(torch.tensor([[token]]), state)
            found.append(logits[0, 0].double().log_softmax(-1))
    return found


def naive(model: LanguageModel, ids: list[int]) -> list[float]:
    """ln p of each id and of <eos>, one token at a time."""
    return [row[target].item() for row, target in zip(distributions(model, ids), [*ids, 0], strict=True)]


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
    monkeypatch.setattr("recurlm.scoring.scorer.LINES_AT_ONCE", 7)
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
        "mean": pytest.approx((first.logprob + last.logprob) / 2),
        "perplexity": pytest.approx(math.exp(-(first.logprob + last.logprob) / 2)),
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


CARRY = ScoringOptions(context="carry")


@pytest.fixture
def documents(lines) -> list[str]:
    """The lines as documents of one, of several and of many lines, with blank lines at the start, between, together."""
    full = [line or "a" for line in lines]
    return ["", *full[:1], "", "  ", *full[1:5], "", *full[5:70]]


def whole_documents(model: LanguageModel, documents: list[str]) -> list[float]:
    """ln p of every token where a document is read as one stream."""
    expected: list[float] = []
    for is_text, members in itertools.groupby(documents, lambda line: bool(line.strip())):
        if is_text:
            ids = [index for line in members for index in [*CODEC.line(line)[0], 0]]
            expected += naive(model, ids[:-1])
    return expected


@pytest.mark.parametrize(("at_once", "budget"), [(2048, 4096), (1, 4096), (3, 10), (7, 1), (50, 33)])
def test_carried_lines_are_one_document_until_a_blank_line(monkeypatch, model, documents, at_once, budget):
    monkeypatch.setattr("recurlm.scoring.scorer.LINES_AT_ONCE", at_once)
    scores = list(score_lines(model, CODEC, documents, ScoringOptions(context="carry", budget=budget)))
    assert [score.line for score in scores] == list(range(1, len(documents) + 1))
    assert [score.text for score in scores] == documents
    found = [logprob for score in scores for logprob in score.logprobs]
    assert found == pytest.approx(whole_documents(model, documents), rel=1e-5, abs=1e-6)
    assert all(not score.tokens for score in scores if not score.text.strip())


def test_carried_scores_do_not_depend_on_chunking(monkeypatch, model, documents):
    reference = [score.logprob for score in score_lines(model, CODEC, documents, CARRY)]
    for at_once, budget in [(1, 4096), (5, 7), (1000, 10**6)]:
        monkeypatch.setattr("recurlm.scoring.scorer.LINES_AT_ONCE", at_once)
        options = ScoringOptions(context="carry", budget=budget)
        found = [score.logprob for score in score_lines(model, CODEC, documents, options)]
        assert found == pytest.approx(reference, rel=1e-6)


def test_a_line_longer_than_the_budget_is_computed_in_pieces_of_time(model):
    ids = torch.randint(2, 10, (300,), generator=torch.Generator().manual_seed(3)).tolist()
    text = CODEC.decode(ids)
    scored = score_lines(model, CODEC, [text], ScoringOptions(budget=16, predictions=True))
    (score,) = scored
    assert logprobs(score) == pytest.approx(naive(model, ids), rel=1e-5, abs=1e-6)
    assert len(score.predictions) == 301


@pytest.mark.parametrize("hidden", [8, 64])
def test_scores_do_not_depend_on_threads(lines, hidden):
    made = make(ModelOptions(embedding_size=hidden, hidden_sizes=(hidden, hidden)), 10)
    reference = [score.logprob for score in score_lines(made, CODEC, lines)]
    torch.set_num_threads(3)
    try:
        found = [score.logprob for score in score_lines(made, CODEC, lines)]
    finally:
        torch.set_num_threads(1)
    assert found == pytest.approx(reference, rel=1e-6)


def test_entropy_and_rank_are_those_of_the_whole_distribution(model, lines):
    for score in score_lines(model, CODEC, lines[:20], ScoringOptions(predictions=True)):
        ids = CODEC.line(score.text)[0]
        for token, row in zip(score.tokens, distributions(model, ids), strict=True):
            assert token.prediction.entropy == pytest.approx(-(row.exp() * row).sum().item(), rel=1e-5)
            assert token.prediction.rank == row.argsort(descending=True).tolist().index(token.id) + 1


def test_only_what_follows_the_separator_counts(model):
    options = ScoringOptions(after="|||")
    given = "a b ||| c d", "a b||| c d", "||| c d", "a b |||"
    scores = list(score_lines(model, CODEC, given, options))
    whole = naive(model, [2, 3, 4, 5])
    for score in scores[:2]:
        assert score.text == "a b c d"
        assert (score.given, list(score.words)) == (2, ["c", "d", "<eos>"])
        assert logprobs(score) == pytest.approx(whole[2:], rel=1e-5)
    assert logprobs(scores[2]) == pytest.approx(naive(model, [4, 5]), rel=1e-5)
    assert logprobs(scores[3]) == pytest.approx(naive(model, [2, 3])[2:], rel=1e-5)


@pytest.mark.parametrize("line", ["a b", "a ||| b ||| c"])
def test_the_separator_stands_once_in_every_line(model, line):
    with pytest.raises(InputError, match=r"line 2: '\|\|\|' must occur in it once"):
        list(score_lines(model, CODEC, ["a ||| b", line], ScoringOptions(after="|||")))


def test_a_space_at_the_separator_stands_once_and_belongs_to_what_follows():
    codec = Codec(Characters(), Vocabulary(("<eos>", *"ab ")))
    made = make(ModelOptions(embedding_size=4, hidden_sizes=(4,)), 4)
    (score,) = score_lines(made, codec, ["a ||| b"], ScoringOptions(after="|||"))
    assert (score.text, score.given, list(score.words)) == ("a b", 1, [" ", "b", "<eos>"])
    (score,) = score_lines(made, codec, ["a |||b"], ScoringOptions(after="|||"))
    assert (score.text, score.given, list(score.words)) == ("a b", 2, ["b", "<eos>"])


def test_a_shared_probability_needs_an_unk(model):
    with pytest.raises(InputError, match="no <unk> whose probability could be shared"):
        Scorer(model, CLOSED, ScoringOptions(unknown=UnknownRule.parse("share:4")))


def test_unknown_words_by_the_four_rules(model):
    reference = naive(model, [2, 1, 3])
    expected = {"unk": reference[1], "skip": None, "floor:-9": -9.0, "share:40": reference[1] - math.log(40)}
    for rule, charged in expected.items():
        scorer = Scorer(model, CODEC, ScoringOptions(unknown=UnknownRule.parse(rule)))
        (score,) = scorer.lines(["a zebra b"])
        found = logprobs(score)
        assert found[1] == (None if charged is None else pytest.approx(charged, rel=1e-5))
        assert [found[0], *found[2:]] == pytest.approx([reference[0], *reference[2:]], rel=1e-5)
        known = reference[0] + reference[2] + reference[3]
        assert score.logprob == pytest.approx(known + (charged or 0), rel=1e-5)
        assert scorer.totals.tokens == (3 if rule == "skip" else 4)
        assert (scorer.totals.oov, scorer.totals.known_tokens) == (1, 3)
        assert scorer.totals.without_oov == pytest.approx(math.exp(-known / 3), rel=1e-5)
        assert f"|oov={UnknownRule.parse(rule).label(1)}|" in scorer.signature()


def test_without_unk_an_unknown_word_is_not_read(model):
    options = ScoringOptions(unknown=UnknownRule("skip"), predictions=True)
    (score,) = score_lines(model, CLOSED, ["a zebra b"], options)
    first, second, third, end = score.tokens
    assert (second.token, second.id, second.logprob, second.oov, second.prediction) == ("zebra", None, None, True, None)
    assert [first.logprob, third.logprob, end.logprob] == pytest.approx(naive(model, [1, 2]), rel=1e-5)
    assert third.prediction is not None


def test_from_a_state_every_line_goes_on_from_it(model):
    state = state_after(model, [2, 3, 4], initial_state(model, "d"))
    scores = list(Scorer(model, CODEC, start=state, digest="d").lines(["d e", "", "f"]))
    for score, ids in zip(scores, ([5, 6], [], [7]), strict=True):
        assert logprobs(score) == pytest.approx(naive(model, [2, 3, 4, *ids])[3:], rel=1e-5)


def test_a_carried_state_goes_on_in_a_later_text(model, lines):
    full = [line or "a" for line in lines]
    whole = [score.logprob for score in score_lines(model, CODEC, full, CARRY)]
    first = Scorer(model, CODEC, CARRY)
    found = [score.logprob for score in first.lines(full[:33])]
    second = Scorer(model, CODEC, CARRY, first.state)
    found += [score.logprob for score in second.lines(full[33:])]
    assert found == pytest.approx(whole, rel=1e-6)


def test_a_state_of_another_model_is_refused(model):
    with pytest.raises(InputError, match="belongs to the model sha256:other, not to this one"):
        Scorer(model, CODEC, start=initial_state(model, "other"), digest="this")


def test_the_signature_says_what_was_counted(model):
    options = ScoringOptions(context="carry", after="|", unknown=UnknownRule("skip"))
    scorer = Scorer(model, CODEC, options, digest="0123456789")
    list(scorer.lines(["a | zebra b"]))
    assert scorer.signature("abcdefghij").startswith(
        "score|tokens=2|eos=counted|state=carried|oov=skip:1|after='|'|precision=fp32|model=sha256:01234567"
        "|text=sha256:abcdefgh|recurlm="
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": "keep"}, r"must be reset \(every line alone\) or carry"),
        ({"unit": "letter"}, "must be token or word"),
        ({"after": ""}, "is empty"),
        ({"oov": "drop"}, "write unk, skip, floor"),
    ],
)
def test_options_that_are_none_are_refused(change, message):
    named = {"context": "reset", "after": None, "unit": "token", "oov": "unk", "precision": "fp32"} | change
    with pytest.raises(UsageError, match=message):
        scoring_options(**named, predictions=False)


def test_memory_does_not_grow_with_the_characters_of_a_block(monkeypatch, model):
    monkeypatch.setattr("recurlm.scoring.scorer.CHARACTERS_AT_ONCE", 10)
    read_so_far: list[int] = []

    def source():
        for number in range(100):
            read_so_far.append(number)
            yield "a b c d"

    scores = score_lines(model, CODEC, source())
    next(scores)
    assert len(read_so_far) == 2


@pytest.mark.parametrize("context", ["reset", "carry"])
def test_texts_of_any_lengths_are_computed_in_few_shapes(monkeypatch, model, context):
    """oneDNN keeps compiled code for each shape, so memory would grow with their number."""
    states, positions = set(), set()
    hidden, losses = model.hidden, scorer.losses_of
    monkeypatch.setattr(model, "hidden", lambda ids, state: (states.add(ids.shape), hidden(ids, state))[1])
    monkeypatch.setattr(scorer, "losses_of", lambda *given: (positions.add(len(given[1])), losses(*given))[1])
    monkeypatch.setattr(scorer, "LINES_AT_ONCE", 97)
    draws = random.Random(3)
    lines = (" ".join(draws.choices("abc", k=int(draws.expovariate(1 / 20)))) for _ in range(3000))
    scored = list(score_lines(model, CODEC, lines, ScoringOptions(context=context)))
    assert len(scored) == 3000
    assert len(states) <= 25
    assert positions <= {1024, 256, 64, 16, 4}
