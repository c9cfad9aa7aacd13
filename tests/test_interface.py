import gzip
from pathlib import Path

import pytest
import torch

import recurlm
from marks import needs_tiles
from recurlm.config import ModelOptions, Recipe, UniformInitialisation
from recurlm.errors import InputError, RecurlmWarning, UsageError
from recurlm.evaluation.adaptation import Temperature
from recurlm.generation.beam_search import BeamOptions
from recurlm.generation.endings import Ending
from recurlm.generation.sampling import SamplingOptions
from recurlm.generation.text_generator import Generation
from recurlm.interface.model import Model
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State
from recurlm.scoring.scorer import ScoringOptions
from recurlm.text.codec import Codec
from recurlm.text.places import DataPlaces
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

FIXTURES = Path(__file__).parent / "fixtures" / "0.1.0"
WORDS = ("<eos>", "<unk>", "the", "red", "fruit", "is", "sweet", "and", "ripe")


@pytest.fixture(params=[False, pytest.param(True, marks=needs_tiles)], ids=["plain", "tiles"])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A model whose samples are drawn step by step, or in the native library."""
    monkeypatch.setattr("recurlm.models.stepping.has_tiles", lambda: request.param)
    torch.manual_seed(0)
    options = ModelOptions(embedding_size=8, hidden_sizes=(9, 8))
    network = LanguageModel(options, len(WORDS))
    initialise(network, UniformInitialisation(scale=0.8))
    return Model(network.eval(), Codec(Words(), Vocabulary(WORDS)), Recipe(model=options))


def confirmed(model: Model, prompt: str, tokens: tuple[str, ...]) -> float:
    """What `score` gives the tokens of one sentence after a prompt."""
    sentence = [token for token in tokens if token != "<eos>"]
    before = len(prompt.split())
    (score,) = model.score([" ".join([*prompt.split(), *sentence])])
    return sum(token.logprob for token in score.tokens[before : before + len(tokens)])


ENDINGS = [Ending(at_eos=True), Ending(("fruit",)), Ending(("is sweet", "and"), at_eos=True)]
OPTIONS = [SamplingOptions(), SamplingOptions(0.8, min_p=0.2), SamplingOptions(repetition_penalty=1.3, banned=(1,))]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_sample_that_has_ended_does_not_disturb_the_others(model, ending, options):
    ended = model.generate_many("the", count=30, tokens=25, seed=4, options=options, ending=ending)
    whole = model.generate_many("the", count=30, tokens=25, seed=4, options=options)
    assert len({len(sample.tokens) for sample in ended}) > 3
    for short, long in zip(ended, whole, strict=True):
        assert short.tokens == long.tokens[: len(short.tokens)]
        if short.end == "eos":
            assert short.tokens.index("<eos>") == len(short.tokens) - 1
            assert short.text == " ".join(short.tokens[:-1])
        elif short.end == "stop":
            further = " ".join(long.tokens[len(short.tokens) :])
            assert further.startswith(ending.stops)
        else:
            assert len(short.tokens) == 25


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("prompt", ["", "the red"])
def test_score_confirms_the_log_probability_of_samples_of_any_length(model, prompt, options):
    samples = model.generate_many(prompt, count=20, tokens=30, seed=1, options=options, ending=Ending(at_eos=True))
    assert {sample.end for sample in samples} >= {"eos"}
    for sample in samples:
        assert sample.logprob == pytest.approx(confirmed(model, prompt, sample.tokens), abs=1e-5)
    for sample in model.generate_many(prompt, count=20, seed=1, options=options, ending=Ending(("fruit", "\n"))):
        assert sample.logprob == pytest.approx(confirmed(model, prompt, sample.tokens), abs=1e-5)


@pytest.mark.parametrize("ending", [Ending(), *ENDINGS])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_pieces_of_a_stream_are_the_text_of_the_sample(model, ending, options):
    for seed in range(12):
        pieces = list(model.stream("the red", options, tokens=20, seed=seed, ending=ending))
        sample = model.generate("the red", tokens=20, seed=seed, options=options, ending=ending)
        assert "".join(pieces) == sample.whole
        assert sample.whole == " ".join(["the red", sample.text]).replace(" \n", "\n").rstrip(" ")


def test_a_seed_repeats_whatever_the_options(model):
    for options in OPTIONS:
        one, same, other = (
            model.generate_many("the", count=5, seed=seed, options=options, ending=ENDINGS[0]) for seed in (3, 3, 4)
        )
        assert one == same
        assert [sample.tokens for sample in one] != [sample.tokens for sample in other]


def test_options_may_be_written_short(model):
    short = model.generate("the", tokens=12, temperature=0.8, top_k=4, top_p=0.9, seed=1)
    assert short == model.generate("the", tokens=12, options=SamplingOptions(0.8, 4, 0.9), seed=1)
    with pytest.raises(UsageError, match="pass these inside `options`"):
        model.generate("the", temperature=0.8, options=SamplingOptions(top_k=3))


def test_beams_are_confirmed_by_score_and_ranked(model):
    found = model.beam_search("the", options=BeamOptions(8, length_penalty=0.6), count=8, tokens=10)
    assert len(found) == 8
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    for each in found:
        assert each.seed is None
        assert each.end == ("eos" if each.tokens[-1] == "<eos>" else "tokens")
        assert each.text == " ".join(token for token in each.tokens if token != "<eos>")
        assert each.logprob == pytest.approx(confirmed(model, "the", each.tokens), abs=1e-5)
        assert each.score == pytest.approx(each.logprob / ((5 + len(each.tokens)) / 6) ** 0.6, abs=1e-9)
        assert each.to_json()["score"] == each.score


def test_bans_name_tokens_of_the_vocabulary(model):
    assert model.token_ids(["<unk>", "red"]) == (1, 3)
    with pytest.raises(UsageError, match="'blue', 'green': not in the model's vocabulary"):
        model.token_ids(["red", "blue", "green"])


def test_a_sentence_cannot_end_where_eos_is_banned(model):
    options = SamplingOptions(banned=(0,))
    with pytest.raises(UsageError, match="leave out one"):
        model.generate("the", options=options, ending=Ending(at_eos=True))
    with pytest.raises(UsageError, match="leave out one"):
        list(model.stream("the", options, tokens=3, seed=0, ending=Ending(at_eos=True)))
    with pytest.raises(UsageError, match="every token of the vocabulary is banned"):
        model.generate("the", options=SamplingOptions(banned=tuple(range(len(WORDS)))))


def test_scores_go_on_from_what_was_read(model):
    whole = model.score(["the red fruit is sweet"])[0].logprobs
    state = model.read("the red")
    (score,) = model.score(["fruit is sweet"], state=state)
    assert score.logprobs == pytest.approx(whole[2:], rel=1e-5)
    assert model.score(["fruit is sweet"], state=model.read(" red", state=model.read("the")))[0].logprobs == (
        pytest.approx(whole[2:], rel=1e-5)
    )


def test_a_line_feed_that_is_read_ends_the_sentence(model):
    carried = model.score(["the red", "fruit"], options=ScoringOptions(context="carry"))[1]
    (score,) = model.score(["fruit"], state=model.read("the red\n"))
    assert score.logprobs == pytest.approx(carried.logprobs, rel=1e-5)


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(top_k=3), SamplingOptions(temperature=0)])
def test_samples_go_on_from_what_was_read(model, options):
    """Drawn as after the whole prompt, and confirmed by score from the state."""
    state = model.read("the red")
    whole = model.generate("the red fruit", tokens=8, seed=3, options=options)
    split = model.generate("fruit", tokens=8, seed=3, options=options, state=state)
    assert split.tokens == whole.tokens
    assert split.logprob == pytest.approx(whole.logprob, rel=1e-5)
    assert model.state_after(split, state=state).last == model.codec.vocabulary.ids[split.tokens[-1]]


def test_a_beam_goes_on_from_what_was_read(model):
    state = model.read("the red")
    whole = model.beam_search("the red fruit", options=BeamOptions(4), count=3, tokens=4)
    split = model.beam_search("fruit", options=BeamOptions(4), count=3, tokens=4, state=state)
    assert [each.tokens for each in split] == [each.tokens for each in whole]
    assert [each.logprob for each in split] == pytest.approx([each.logprob for each in whole], rel=1e-5)


def test_the_state_after_a_sample_is_that_of_its_text(model):
    sample = model.generate("the", tokens=6, seed=2, options=SamplingOptions(banned=(0,)))
    after, read = model.state_after(sample), model.read(str(sample))
    assert (after.last, after.model) == (read.last, read.model)
    for left, right in zip(after.layers, read.layers, strict=True):
        for mine, theirs in zip(left, right, strict=True):
            torch.testing.assert_close(mine, theirs)


def test_a_state_of_another_model_is_refused_everywhere(model):
    state = State(model.network.initial_state(1), 0, "0" * 64)
    uses = [
        lambda: model.read("the", state=state),
        lambda: model.score(["the"], state=state),
        lambda: model.generate("the", state=state),
        lambda: model.generate_many("the", count=2, state=state),
        lambda: model.beam_search("the", options=BeamOptions(2), state=state),
    ]
    for use in uses:
        with pytest.raises(InputError, match="belongs to the model sha256:00000000, not to this one"):
            use()


def fond_of_unk(model: Model) -> Model:
    """A model to which ``<unk>`` is likelier than all other tokens together."""
    with torch.no_grad():
        model.network.decoder.bias[1] = 6.0
    return model


SHARPENED = [SamplingOptions(), SamplingOptions(0.0), SamplingOptions(top_k=1), SamplingOptions(typical=0.2)]


@pytest.mark.parametrize("options", [*SHARPENED, SamplingOptions(banned=(3,), repetition_penalty=1.2)])
def test_unk_is_drawn_only_where_it_is_allowed(model, options):
    fond_of_unk(model)
    allowed = model.generate_many("the", count=20, tokens=10, seed=1, options=options, allow_unk=True)
    usual = model.generate_many("the", count=20, tokens=10, seed=1, options=options)
    assert "<unk>" in {token for sample in allowed for token in sample.tokens}
    assert {len(sample.tokens) for sample in usual} == {10}
    assert "<unk>" not in {token for sample in usual for token in sample.tokens}


def test_streams_beams_and_single_samples_hold_no_unk_either(model):
    fond_of_unk(model)
    streamed = {
        allow: "".join(model.stream("the", SamplingOptions(), tokens=20, seed=1, allow_unk=allow))
        for allow in (False, True)
    }
    assert ["<unk>" in text for text in streamed.values()] == [False, True]
    beam = BeamOptions(4, length_penalty=1.0)
    found = {
        allow: model.beam_search("the", options=beam, tokens=4, count=4, allow_unk=allow) for allow in (False, True)
    }
    assert [any("<unk>" in each.tokens for each in texts) for texts in found.values()] == [False, True]
    assert "<unk>" not in model.generate("the", tokens=20, seed=1).tokens


def test_the_log_probability_of_a_sample_without_unk_is_the_models_own(model):
    fond_of_unk(model)
    sample = model.generate("the red", tokens=30, seed=2, ending=Ending(at_eos=True))
    assert sample.logprob == pytest.approx(confirmed(model, "the red", sample.tokens), abs=1e-4)
    assert sample.logprob / len(sample.tokens) < -3  # renormalised it would be near the mean of seven tokens, -2


def test_a_vocabulary_without_unk_has_nothing_to_ban(model):
    model.codec = Codec(Words(), Vocabulary(("<eos>", "other", *WORDS[2:])))
    fond_of_unk(model)
    assert "other" in model.generate("the", tokens=10, seed=1).tokens


def test_nothing_to_draw_but_unk_is_refused(model):
    rest = tuple(index for index in range(len(WORDS)) if index != 1)
    with pytest.raises(UsageError, match="--allow-unk"):
        model.generate("the", options=SamplingOptions(banned=rest))
    with pytest.raises(UsageError, match="--allow-unk"):
        model.beam_search("the", options=BeamOptions(2, banned=rest))
    assert set(model.generate("the", tokens=5, options=SamplingOptions(banned=rest), allow_unk=True).tokens) == {
        "<unk>"
    }


@needs_tiles
def test_a_ban_does_not_leave_the_way_of_many_tokens_in_one_call(model, monkeypatch):
    monkeypatch.setattr("recurlm.models.stepping.has_tiles", lambda: True)
    monkeypatch.setattr("recurlm.generation.sampling.draw", None)
    bias = model.network.decoder.bias.clone()
    assert len(model.generate("the", tokens=40, seed=1, options=SamplingOptions(0.9, banned=(4,))).tokens) == 40
    assert torch.equal(model.network.decoder.bias, bias)


@pytest.mark.parametrize("ending", [Ending(), Ending(("never met",))])
def test_a_stream_decodes_each_token_a_few_times_however_long_it_is(model, monkeypatch, ending):
    decoded, decode = [], Codec.decode
    monkeypatch.setattr(Codec, "decode", lambda self, ids: (decoded.append(len(list(ids))), decode(self, ids))[1])
    options = SamplingOptions(top_k=3)
    text = "".join(model.stream("the", options, tokens=1000, seed=1, ending=ending))
    assert len(text.split(" ")) > 100
    assert sum(decoded) < 1000 * 300


def text_in(folder: Path) -> Path:
    """A text whose lines a gzip file holds, so that opening it writes into the cache."""
    path = folder / "fruit.txt.gz"
    path.write_bytes(gzip.compress(b"the red fruit is sweet\nthe fruit is ripe\n"))
    return path


def test_texts_are_kept_where_the_environment_says(model, tmp_path, monkeypatch):
    monkeypatch.setenv("RECURLM_CACHE_DIR", str(tmp_path / "cache"))
    model.perplexity(text_in(tmp_path))
    assert len(list(tmp_path.glob("cache/decompressed/*/fruit.txt"))) == 1


def test_places_name_the_cache(model, tmp_path):
    model.perplexity(text_in(tmp_path), places=DataPlaces(cache_directory=tmp_path / "cache"))
    assert len(list(tmp_path.glob("cache/decompressed/*/fruit.txt"))) == 1


def test_the_former_keywords_of_the_places_still_work_with_a_warning(model, tmp_path):
    text, cache = text_in(tmp_path), tmp_path / "cache"
    with pytest.warns(RecurlmWarning, match=r"cache_directory, offline: write places=recurlm\.DataPlaces\(") as caught:
        model.perplexity(text, cache_directory=cache, offline=True)
    assert caught[0].filename == __file__
    assert len(list(cache.glob("decompressed/*/fruit.txt"))) == 1
    with pytest.raises(UsageError, match="places holds everything; drop offline"):
        model.perplexity(text, places=DataPlaces(), offline=True)
    with pytest.raises(TypeError, match="unexpected keyword argument 'cash'"):
        model.perplexity(text, cash=1)


def test_the_former_keyword_of_the_source_still_works_with_a_warning(model, tmp_path):
    path = tmp_path / "fruit.txt"
    path.write_text("the red fruit is sweet\n")
    with pytest.warns(RecurlmWarning, match="text: the keyword is now source") as caught:
        named = model.perplexity(text=path)
    assert caught[0].filename == __file__
    assert named.value == model.perplexity(path).value
    assert named.value == model.perplexity(source=path).value
    with pytest.warns(RecurlmWarning, match="text: the keyword is now source"):
        assert model.adapt(text=path, options=Temperature()).static.value == named.value
    with pytest.raises(UsageError, match="drop text"):
        model.perplexity(source=path, text=path)


def test_a_warning_about_a_text_points_at_the_call(tmp_path):
    (tmp_path / "text.txt").write_bytes((FIXTURES / "texts" / "train.txt").read_bytes())
    with pytest.warns(RecurlmWarning, match=r"the model learned from .*text\.txt or") as caught:
        recurlm.load(FIXTURES / "run").perplexity(tmp_path / "text.txt")
    assert [each.filename for each in caught] == [__file__]


def test_a_model_says_what_it_is(model):
    assert (
        repr(model) == f"Model(network lstm 9 + 8, parameters {model.network.parameter_count():,}, vocabulary 9 words)"
    )
    assert model._repr_html_().count("<tr>") == 4
    loaded = recurlm.load(FIXTURES / "run")
    assert "learned from" in repr(loaded)


def test_a_state_says_its_size_and_its_model(model):
    state = model.read("the red")
    # an LSTM keeps two vectors a layer: 2 x (9 + 8) numbers of 4 bytes
    assert repr(state) == f"State(2 layers, 34 numbers in 136 bytes, last token 3, model sha256:{model.digest[:8]})"
    assert f"sha256:{model.digest[:8]}" in state._repr_html_()


def test_a_sample_says_how_it_was_drawn(model):
    sample = model.generate("the", tokens=3, seed=1)
    assert repr(sample) == (
        f"Generation({sample.whole!r}: 3 tokens, as many as asked for, logprob {sample.logprob:.3f}, seed 1)"
    )
    assert sample._repr_html_().startswith('<div style="white-space:pre-wrap"><b>the</b>')
    beam = model.beam_search("the", options=BeamOptions(4), tokens=2)[0]
    assert f"score {beam.score:.3f}" in repr(beam)
    odd = Generation("<the>", "x", ("x",), None, None, "<unk> \x1bx", "stop")
    assert repr(odd) == "Generation('<unk> \\\\u001bx': 1 token, ended at a stop)"
    assert "<b></b>&lt;unk&gt; \\u001bx</div>" in odd._repr_html_()
