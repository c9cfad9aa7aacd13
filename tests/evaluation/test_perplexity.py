import math

from recurlm.evaluation.perplexity import Perplexity


@pytest.mark.parametrize("protocol", ["stream", "sentence"])
def test_ticks_tell_every_token_whose_cost_is_found(model, sentences, encoded, protocol):
    ticks: list[int] = []
    text = encoded(sentences)
    token_nats(model, text, protocol, tick=ticks.append)
    assert sum(ticks) == len(text.ids)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    result = Perplexity(1e6, 1, 0, None, "stream", "s")
    assert result.value == math.inf
    assert result.to_json()["perplexity"] is None
