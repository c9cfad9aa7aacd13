import pytest

from recurlm.wording import counted


@pytest.mark.parametrize(
    ("number", "words", "shown"),
    [
        (0, ("epoch",), "0 epochs"),
        (1, ("epoch",), "1 epoch"),
        (12345, ("step",), "12,345 steps"),
        (1, ("hypothesis", "hypotheses"), "1 hypothesis"),
        (2, ("hypothesis", "hypotheses"), "2 hypotheses"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int, words: tuple[str, ...], shown: str) -> None:
    assert counted(number, *words) == shown
