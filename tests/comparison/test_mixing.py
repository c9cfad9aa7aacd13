import math
from pathlib import Path

import pytest

from recurlm.comparison.contenders import open_contenders
from recurlm.comparison.mixing import MixtureTexts, evaluate_mixture, mix
from recurlm.errors import InputError, UsageError
from recurlm.interface.model import load

LINES = ["the cat sat", "the dog sat on the mat", "a owl sat", "", "on a mat the dog sat"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The corpus from which the runs say that they learned."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, lines in (("train", LINES * 3), ("valid", LINES[1:]), ("test", LINES)):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_given_weights_mix_the_probabilities_of_each_token(make_run, arpa, corpus):
    run = make_run("one", 1)
    mixture = evaluate_mixture([run, arpa], MixtureTexts(), weight="0.3", protocol="sentence")
    tokens = [token for line in load(run).score(LINES) for token in line.tokens]
    unigram = [0.2 if token.token == "<eos>" else 0.1 for token in tokens]
    mixed = [0.3 * math.exp(token.logprob) + 0.7 * p for token, p in zip(tokens, unigram, strict=True)]
    expected = math.exp(-sum(map(math.log, mixed)) / len(mixed))
    assert mixture.perplexity.value == pytest.approx(expected, rel=1e-5)
    assert mixture.weights == (0.3, 0.7)
    signature = mixture.perplexity.signature
    digests = [each.perplexity.signature.split("model=")[1].split("|")[0] for each in mixture.measurements]
    assert signature.startswith(f"sentence|tokens={len(tokens)}|eos=counted|state=zero+<s>|oov=1|")
    assert f"|models={','.join(digests)}|weights=0.3000,0.7000|chosen=given|" in signature


def test_weights_fitted_on_the_valid_split_are_best_there(make_run, arpa, corpus):
    paths = [make_run("one", 1), arpa]
    fitted = evaluate_mixture(paths, MixtureTexts())
    assert fitted.held_out is not None
    assert fitted.held_out.path == corpus / "valid.txt"
    assert f"|chosen=em:{fitted.held_out.sha256[:8]}|" in fitted.perplexity.signature
    found = fitted.weights[0]
    at = {
        weight: evaluate_mixture(paths, MixtureTexts(split="valid"), weight=repr(weight)).perplexity.nats
        for weight in (found, max(found - 0.1, 0.0), min(found + 0.1, 1.0))
    }
    assert at[found] == pytest.approx(min(at.values()), abs=1e-4)


def test_a_mixture_with_all_the_weight_on_one_model_is_that_model(make_run, arpa, corpus):
    run = make_run("one", 1)
    alone = load(run).perplexity(corpus).value
    assert evaluate_mixture([run, arpa], MixtureTexts(), weight="1").perplexity.value == pytest.approx(alone, rel=1e-6)


def test_weights_are_never_fitted_on_what_is_measured(make_run, arpa, corpus, tmp_path):
    paths = [make_run("one", 1), arpa]
    test = str(corpus / "test.txt")
    with pytest.raises(UsageError, match="needs --held-out"):
        evaluate_mixture(paths, MixtureTexts(test))
    with pytest.raises(UsageError, match="needs --held-out"):
        evaluate_mixture(paths, MixtureTexts(split="valid"))
    copy = tmp_path / "copy.txt"
    copy.write_bytes((corpus / "test.txt").read_bytes())
    for held_out in (test, str(copy)):
        with pytest.raises(InputError, match="is the measured text"):
            evaluate_mixture(paths, MixtureTexts(test, held_out=held_out))
    assert evaluate_mixture(paths, MixtureTexts(test, held_out=str(corpus))).held_out.path == corpus / "valid.txt"
    with pytest.raises(UsageError, match="belongs to --weight auto"):
        evaluate_mixture(paths, MixtureTexts(test, held_out=str(corpus)), weight="0.5")


def test_a_corpus_without_a_valid_split_asks_for_held_out_text(make_run, arpa, corpus):
    (corpus / "valid.txt").unlink()
    with pytest.raises(UsageError, match="needs --held-out"):
        evaluate_mixture([make_run("one", 1), arpa], MixtureTexts())


def test_different_vocabularies_do_not_mix(make_run, write_text):
    runs = [make_run("one", 1), make_run("two", 2, ("<eos>", "<unk>", "the", "cat", "bird"))]
    with pytest.raises(InputError, match=r"\(5 tokens only in the first, 1 only in the second\)"):
        mix(open_contenders(runs), write_text("the cat\n"), weights=(0.5, 0.5))


def test_two_arpa_files_need_a_text(arpa):
    with pytest.raises(UsageError, match="name a text"):
        evaluate_mixture([arpa, arpa], MixtureTexts(), weight="0.5")
