import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import recurlm
from recurlm.config import Recipe
from recurlm.errors import InputError, UsageError
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.recipe_files import parse_recipe
from recurlm.runs.config import RunConfig
from recurlm.runs.folder import RunFolder
from recurlm.runs.growth import extend_vocabulary
from recurlm.tensor_files import tensor_bytes, tensors
from recurlm.text.codec import Codec
from recurlm.text.sources import Text
from recurlm.text.store import PreparedCorpus
from recurlm.text.tokenization import BytePairs, Characters, Tokenization, Words
from recurlm.text.vocabulary import Vocabulary

WORDS = ("<eos>", "<unk>", *"abcdefgh")


def recipe(**model: object) -> Recipe:
    values = {"embedding_size": 8, "hidden_sizes": [9, 8], **model}
    initialisation = {"kind": "uniform", "scale": 0.8}
    return parse_recipe({"model": values, "initialisation": initialisation}, "a test")


def write_run(
    path: Path,
    tokens: tuple[str, ...] = WORDS,
    tokenization: Tokenization | None = None,
    dtype: torch.dtype = torch.float32,
    **model: object,
) -> RunFolder:
    """A run folder as training leaves one, its weights drawn."""
    torch.manual_seed(0)
    codec = Codec(tokenization or Words(), Vocabulary(tokens))
    network = LanguageModel(recipe(**model).model, len(tokens))
    initialise(network, recipe(**model).initialisation)
    folder = RunFolder(path)
    folder.save_model(tensor_bytes({name: tensor.to(dtype) for name, tensor in network.weights().items()}))
    config = RunConfig(recipe(**model), "made", "some-corpus", 1, "cpu", "fp32", 1, None)
    folder.create(config.to_json(PreparedCorpus("made", codec, {}), network.parameter_count()), codec)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return tensors(folder.read("model.safetensors"), folder.path)


@pytest.fixture
def new_words(write_text: Callable[..., Text]) -> Text:
    return write_text("x a y\n\nz x\nb", "words")


VARIANTS = [{}, {"tied": True}, {"decoder_bias": False}, {"cell": "gru", "tied": True, "decoder_bias": False}]


@pytest.mark.parametrize("init", ["mean", "unk"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_old_logits_stay_and_log_probabilities_change_by_the_normalisation_alone(tmp_path, new_words, variant, init):
    origin = write_run(tmp_path / "run", **variant)
    growth = extend_vocabulary(origin, new_words, tmp_path / "new", init=init)
    assert (growth.added, growth.known, growth.size) == (("x", "y", "z"), ("a", "b"), 13)
    old, new = recurlm.load(origin.path), recurlm.load(tmp_path / "new")
    assert new.codec.vocabulary.tokens == (*WORDS, "x", "y", "z")
    tokens = torch.randint(10, (12, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, _ = old.network(tokens, old.network.initial_state(3))
        after, _ = new.network(tokens, new.network.initial_state(3))
    torch.testing.assert_close(after[..., :10], before, rtol=0, atol=1e-6)
    # ln(sum over old words / sum over all words), worked out from the old model's logits and the new words' alone
    lost = before.exp().sum(-1) / (before.exp().sum(-1) + after[..., 10:].exp().sum(-1))
    change = after.log_softmax(-1)[..., :10] - before.log_softmax(-1)
    torch.testing.assert_close(change, lost.log()[..., None].expand_as(change), rtol=1e-4, atol=1e-5)
    if init == "mean":
        # the noise moves a logit by little
        assert change.min() > -math.log(1 + 3 / 10) - 0.02


@pytest.mark.parametrize("tied", [False, True])
def test_a_mixture_of_softmaxes_grows_expert_by_expert(tmp_path, new_words, tied):
    origin = write_run(tmp_path / "run", output={"kind": "mixture", "experts": 3}, tied=tied)
    extend_vocabulary(origin, new_words, tmp_path / "new")
    old, new = recurlm.load(origin.path), recurlm.load(tmp_path / "new")
    tokens = torch.randint(10, (12, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, _ = old.network(tokens, old.network.initial_state(3))
        after, _ = new.network(tokens, new.network.initial_state(3))
    change = after[..., :10] - before
    assert change.max() < 0
    # each expert loses at most this, so their mean does too; the noise moves a logit by little
    assert change.min() > -math.log(1 + 3 / 10) - 0.02


def test_an_adaptive_softmax_does_not_grow(tmp_path, new_words):
    origin = write_run(tmp_path / "run", output={"kind": "adaptive", "cutoffs": [4]})
    with pytest.raises(InputError, match="clusters by frequency, to which no word can be added"):
        extend_vocabulary(origin, new_words, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("variant", VARIANTS)
def test_copies_of_unk_are_copies(tmp_path, new_words, variant):
    origin = write_run(tmp_path / "run", **variant)
    growth = extend_vocabulary(origin, new_words, tmp_path / "new", init="unk")
    before, after = weights(origin), weights(growth.run)
    assert before.keys() == after.keys()
    for name, old in before.items():
        grows = name in ("embedding.weight", "decoder.weight", "decoder.bias")
        assert torch.equal(after[name][: len(old)], old)
        assert torch.equal(after[name][len(old) :], old[[1, 1, 1]] if grows else old[:0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_means_have_the_noise_that_is_said(tmp_path, write_text, variant):
    many = write_text(" ".join(f"w{number}" for number in range(4000)))
    origin = write_run(tmp_path / "run", **variant)
    growth = extend_vocabulary(origin, many, tmp_path / "new")
    before, after = weights(origin), weights(growth.run)
    matrices = [name for name in ("embedding.weight", "decoder.weight") if name in before]
    assert len(matrices) == 1 + (not variant.get("tied", False))
    for name in matrices:
        old, new = before[name], after[name][10:]
        spread = ((old - old.mean(0)) ** 2).mean(0).sqrt()
        distance = (new - old.mean(0)) / spread
        assert distance.mean(0).abs().max() < 0.001
        torch.testing.assert_close(distance.square().mean(0).sqrt(), torch.full((8,), 0.01), rtol=0.06, atol=0)
        assert len(new.unique(dim=0)) == 4000
    if "decoder.bias" in before:
        bias = before["decoder.bias"]
        torch.testing.assert_close(after["decoder.bias"][10:], (bias.sum() / 10).expand(4000))


def test_a_seed_repeats_the_noise_and_another_does_not(tmp_path, new_words):
    origin = write_run(tmp_path / "run")
    one, same, other = (
        weights(extend_vocabulary(origin, new_words, tmp_path / name, seed=seed).run)["embedding.weight"]
        for name, seed in (("one", 7), ("same", 7), ("other", 8))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one[10:], other[10:])


def test_half_precision_stays_half(tmp_path, new_words):
    origin = write_run(tmp_path / "run", dtype=torch.float16)
    growth = extend_vocabulary(origin, new_words, tmp_path / "new")
    assert {tensor.dtype for tensor in weights(growth.run).values()} == {torch.float16}
    assert recurlm.load(growth.run.path).score(["x a"])[0].logprob < 0


def test_the_run_is_left_as_it_was_and_the_new_one_is_whole(tmp_path, new_words):
    origin = write_run(tmp_path / "run", tied=True)
    before = content(origin.path)
    extend_vocabulary(origin, new_words, tmp_path / "new", seed=3)
    assert content(origin.path) == before
    files = content(tmp_path / "new")
    recorded = json.loads(files.pop("manifest.json"))["sha256"]
    assert recorded == {name: hashlib.sha256(file).hexdigest() for name, file in files.items()}
    assert set(files) == {"config.json", "model.safetensors", "vocabulary.json"}


def test_the_configuration_says_where_the_model_comes_from_and_what_was_added(tmp_path, new_words):
    origin = write_run(tmp_path / "run")
    extend_vocabulary(origin, new_words, tmp_path / "new", seed=3)
    old, new = origin.config(), RunFolder(tmp_path / "new").config()
    assert new["start"] == {
        "run": str(origin.path),
        "model": hashlib.sha256((origin.path / "model.safetensors").read_bytes()).hexdigest(),
    }
    assert new["extended"] == {
        "file": "words",
        "digest": hashlib.sha256(b"x a y\n\nz x\nb").hexdigest(),
        "init": "mean",
        "noise": 0.01,
        "seed": 3,
        "added": ["x", "y", "z"],
        "fine_tuned": False,
    }
    assert new["vocabulary"]["size"] == 13
    # three embeddings of 8, three rows of 8 and three biases in the decoder
    assert new["parameters"] == old["parameters"] + 3 * (8 + 8 + 1)
    for key in ("corpus", "recipe", "recipe_name", "seed"):
        assert new[key] == old[key]


def test_a_new_word_is_no_longer_unknown(tmp_path, new_words):
    origin = write_run(tmp_path / "run")
    extend_vocabulary(origin, new_words, tmp_path / "new")
    for run, oov, index in ((origin.path, True, 1), (tmp_path / "new", False, 11)):
        token = recurlm.load(run).score(["a y"])[0].tokens[1]
        assert (token.token, token.id, token.oov) == ("y", index, oov)


def test_what_has_grown_grows_again(tmp_path, new_words, write_text):
    first = extend_vocabulary(write_run(tmp_path / "run"), new_words, tmp_path / "new")
    second = extend_vocabulary(first.run, write_text("x q"), tmp_path / "newer", init="unk")
    assert (second.added, second.known) == (("q",), ("x",))
    assert recurlm.load(tmp_path / "newer").codec.vocabulary.tokens == (*WORDS, "x", "y", "z", "q")
    assert second.run.config()["start"]["run"] == str(tmp_path / "new")


def test_unk_may_be_added_where_there_was_none(tmp_path, write_text):
    origin = write_run(tmp_path / "run", ("<eos>", *"abc"))
    with pytest.raises(InputError, match="no <unk> to copy"):
        extend_vocabulary(origin, write_text("<unk>"), tmp_path / "new", init="unk")
    extend_vocabulary(origin, write_text("<unk>"), tmp_path / "new")
    assert recurlm.load(tmp_path / "new").score(["a strange b"])[0].tokens[1].id == 4


def test_characters_grow_by_the_characters_of_the_file(tmp_path, write_text):
    origin = write_run(tmp_path / "run", ("<eos>", *"ab"), Characters())
    growth = extend_vocabulary(origin, write_text("a 一\nb\n"), tmp_path / "new")
    assert (growth.added, growth.known) == ((" ", "一"), ("a", "b"))
    assert len(recurlm.load(tmp_path / "new").score(["一 a"])[0].tokens) == 4


def test_byte_pairs_are_refused_with_the_reason(tmp_path, new_words):
    pytest.importorskip("tokenizers")
    pairs = BytePairs.train(["ab"], 256)
    origin = write_run(tmp_path / "run", ("<eos>", *pairs.pieces), pairs)
    with pytest.raises(InputError, match="byte pairs: they spell every word already"):
        extend_vocabulary(origin, new_words, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_is_refused_and_nothing_is_written(tmp_path, new_words, write_text):
    origin = write_run(tmp_path / "run")
    out = tmp_path / "new"
    with pytest.raises(UsageError, match="mean and unk"):
        extend_vocabulary(origin, new_words, out, init="zero")
    with pytest.raises(InputError, match="nothing to add"):
        extend_vocabulary(origin, write_text("a b\n<unk>", "known"), out)
    with pytest.raises(InputError, match="nothing to add"):
        extend_vocabulary(origin, write_text("", "empty"), out)
    with pytest.raises(InputError, match=r"eos\.txt, line 2: holds the word <eos> itself"):
        extend_vocabulary(origin, write_text("x\ny <eos>", "eos"), out)
    assert not out.exists()
    with pytest.raises(InputError, match="already holds a run"):
        extend_vocabulary(origin, new_words, origin.path)
    with pytest.raises(InputError, match="is a file"):
        extend_vocabulary(origin, new_words, new_words.path)


def test_weights_of_another_kind_are_refused(tmp_path, new_words):
    with pytest.raises(UsageError, match="--init zero: there are mean and unk"):
        extend_vocabulary(write_run(tmp_path / "old"), new_words, tmp_path / "new", init="zero")
    assert not (tmp_path / "new").exists()
