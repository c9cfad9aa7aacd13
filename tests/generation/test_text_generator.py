import pytest
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import InputError, UsageError
from recurlm.generation.beam_search import BeamOptions
from recurlm.generation.endings import Ending
from recurlm.generation.sampling import SamplingOptions
from recurlm.generation.text_generator import TextGenerator, prompt_ids, sampling_options, token_ids
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

CODEC = Codec(Words(), Vocabulary(("<eos>", "<unk>", "the", "red", "fruit")))


@pytest.fixture(scope="module")
def network() -> LanguageModel:
    torch.manual_seed(2)
    model = LanguageModel(ModelOptions(embedding_size=6, hidden_sizes=(7,)), len(CODEC.vocabulary))
    initialise(model, UniformInitialisation(scale=1.2))
    return model.eval()


def certain(network: LanguageModel, token: str) -> LanguageModel:
    """A model that says this token whatever came before."""
    model = LanguageModel(network.options, network.vocabulary_size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder.bias[CODEC.vocabulary.ids[token]] = 50.0
    return model


def test_a_beam_ends_at_eos_which_is_no_part_of_the_text(network):
    (found,) = TextGenerator(certain(network, "<eos>"), CODEC).best("the", BeamOptions(width=2), count=1, tokens=3)
    assert (found.tokens, found.end, found.text) == (("<eos>",), "eos", "")
    assert found.whole == str(found) == "the"
    assert (found.seed, found.logprob) == (None, pytest.approx(0, abs=1e-6))


def test_a_beam_that_meets_no_eos_has_all_its_tokens(network):
    (found,) = TextGenerator(certain(network, "red"), CODEC).best("the", BeamOptions(width=2), count=1, tokens=3)
    assert (found.tokens, found.end, found.whole) == (("red",) * 3, "tokens", "the red red red")


def test_unk_is_written_only_where_it_is_allowed(network):
    model = certain(network, "<unk>")
    for allowed in (False, True):
        generator = TextGenerator(model, CODEC, allow_unk=allowed)
        (drawn,) = generator.samples("the", SamplingOptions(), Ending(), count=1, tokens=9, seed=1)
        (best,) = generator.best("the", BeamOptions(width=1), count=1, tokens=9)
        streamed = "".join(generator.stream("the", SamplingOptions(), Ending(), tokens=9, seed=1))
        assert ["<unk>" in each for each in (drawn.text, best.text, streamed)] == [allowed] * 3


@pytest.mark.parametrize("ending", [Ending(), Ending(at_eos=True), Ending(("fruit the",)), Ending(("red",), True)])
@pytest.mark.parametrize("seed", range(5))
def test_a_sample_in_pieces_is_the_sample_as_a_whole(network, ending, seed):
    generator = TextGenerator(network, CODEC)
    pieces = list(generator.stream("the red", SamplingOptions(), ending, tokens=20, seed=seed))
    (whole,) = generator.samples("the red", SamplingOptions(), ending, count=1, tokens=20, seed=seed)
    assert pieces[0] == "the red"
    assert "".join(pieces) == whole.whole


def test_log_probabilities_are_left_out_where_nobody_asks(network):
    generator = TextGenerator(network, CODEC)
    with_, without = (
        generator.samples("", SamplingOptions(), Ending(), count=2, tokens=4, seed=3, logprobs=asked)
        for asked in (True, False)
    )
    assert [each.tokens for each in with_] == [each.tokens for each in without]
    assert all(each.logprob < 0 for each in with_)
    assert [each.logprob for each in without] == [None, None]
    assert [each.seed for each in without] == [3, 3]


def test_the_json_has_a_score_only_where_a_beam_gave_one(network):
    generator = TextGenerator(network, CODEC)
    (drawn,) = generator.samples("the", SamplingOptions(), Ending(), count=1, tokens=2, seed=3)
    assert list(drawn.to_json()) == ["prompt", "text", "tokens", "logprob", "seed", "end"]
    (best,) = generator.best("the", BeamOptions(width=2), count=1, tokens=2)
    assert best.to_json()["score"] == best.score is not None


def test_a_banned_eos_cannot_end_a_sentence(network):
    options = SamplingOptions(banned=(0,))
    with pytest.raises(UsageError, match="<eos> is banned, so no sample can end with it"):
        TextGenerator(network, CODEC).samples("", options, Ending(at_eos=True), count=1, tokens=2, seed=3)
    TextGenerator(network, CODEC).samples("", options, Ending(), count=1, tokens=2, seed=3)


def test_options_are_given_once():
    assert sampling_options(None, 0.5, 3, None) == SamplingOptions(temperature=0.5, top_k=3)
    assert sampling_options(SamplingOptions(0.7), 1.0, None, None) == SamplingOptions(0.7)
    with pytest.raises(UsageError, match="pass these inside `options`"):
        sampling_options(SamplingOptions(), 0.5, None, None)


def test_words_that_the_vocabulary_lacks_are_named():
    assert prompt_ids(CODEC, "the red") == [2, 3]
    with pytest.raises(InputError, match="does not know: 'blue', 'lime'; write others"):
        prompt_ids(CODEC, "the blue lime")
    assert token_ids(CODEC.vocabulary, ["<eos>", "<unk>", "fruit"]) == (0, 1, 4)
    with pytest.raises(UsageError, match="'blue', 'lime': not in the model's vocabulary"):
        token_ids(CODEC.vocabulary, ["the", "blue", "lime"])
