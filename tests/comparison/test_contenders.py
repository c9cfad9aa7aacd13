import hashlib

import numpy as np
import pytest

from recurlm.comparison.contenders import open_contenders
from recurlm.errors import InputError, UsageError
from recurlm.interface.model import load


@pytest.fixture
def text(write_text):
    return write_text("the cat sat\nthe owl sat on a mat\n\n")


@pytest.mark.parametrize("protocol", ["stream", "sentence"])
def test_a_run_has_the_perplexity_that_eval_gives_it(make_run, text, protocol):
    run = make_run("one", 1)
    (contender,) = open_contenders([run])
    measured = contender.measure(text, protocol)
    alone = load(run).perplexity(text.path, protocol=protocol)
    assert measured.perplexity.value == pytest.approx(alone.value, rel=1e-6)
    assert measured.perplexity.oov == 1
    scored = load(run).scorer().signature().split("|")
    before, after = alone.signature.split("|text=")
    assert measured.perplexity.signature == f"{before}|model={contender.digest}|text={after}"
    assert f"model={contender.digest}" in scored


def test_an_arpa_file_is_measured_by_its_own_probabilities(arpa, text):
    (contender,) = open_contenders([arpa])
    measured = contender.measure(text, "stream")
    ends = np.array([4, 11, 12])
    expected = np.full(12, 0.1)
    expected[ends - 1] = 0.2
    assert np.exp(-measured.nats) == pytest.approx(expected)
    content = hashlib.sha256(arpa.read_bytes()).hexdigest()
    start = f"stream|tokens=12|eos=counted|state=<s>|oov=1|model=arpa:{content[:8]}|order=1|text="
    assert measured.perplexity.signature.startswith(start)


def test_contenders_keep_the_order_in_which_they_are_named(make_run, arpa):
    one, two = make_run("one", 1), make_run("two", 2)
    assert [each.name for each in open_contenders([one, arpa, two])] == [str(one), str(arpa), str(two)]


def test_models_over_different_tokens_are_refused(make_run, arpa):
    words, characters = make_run("words", 1), make_run("characters", 1, ("<eos>", "<unk>", "a"), "character")
    with pytest.raises(InputError, match=r"words and .*characters cut text into different tokens"):
        open_contenders([words, characters])
    with pytest.raises(InputError, match="over characters; n-grams of ARPA files are over words"):
        open_contenders([characters, arpa])


def test_what_is_no_model_is_refused(tmp_path, write_text):
    with pytest.raises(InputError, match="no such run folder or ARPA file"):
        open_contenders([tmp_path / "none"])
    with pytest.raises(InputError, match="not a run folder"):
        open_contenders([tmp_path])
    with pytest.raises(Exception, match="not an ARPA file"):
        open_contenders([write_text("words\n").path])


def test_an_unknown_word_is_refused_where_the_arpa_file_has_no_unk(arpa, text):
    arpa.write_text(arpa.read_text().replace("<unk>", "other"))
    (contender,) = open_contenders([arpa])
    with pytest.raises(InputError, match=r"line 2: the token 'owl'.*\n.*unigrams.arpa lacks it; `recurlm ngram"):
        contender.measure(text, "stream")


def test_the_protocol_of_mxnet_is_refused(arpa, text):
    with pytest.raises(UsageError, match="measured by stream or sentence"):
        open_contenders([arpa])[0].measure(text, "mxnet")


def test_a_protocol_for_single_models_is_refused(arpa, text):
    (contender,) = open_contenders([arpa])
    with pytest.raises(UsageError, match="several models are measured by stream or sentence"):
        contender.measure(text, "mxnet")
