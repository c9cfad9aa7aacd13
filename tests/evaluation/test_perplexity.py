import math

from recurlm.evaluation.perplexity import Perplexity


def test_a_perplexity_beyond_all_numbers_is_infinite():
    result = Perplexity(1e6, 1, 0, None, "stream", "s")
    assert result.value == math.inf
    assert result.to_json()["perplexity"] is None
