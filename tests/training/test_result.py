from recurlm.evaluation.perplexity import Perplexity
from recurlm.training.result import Result

VALID = Perplexity(0.0, 4, 0, None, "stream", "stream|valid")
TEST = Perplexity(0.0, 4, 0, None, "stream", "stream|test")


def test_the_result_is_told_with_the_commands_that_come_next() -> None:
    assert Result("runs/a", 1, 1200, 3661.2345, VALID, TEST, "train longer").summary().split("\n") == [
        "done   1 epoch, 1,200 steps in 1:01:01",
        "valid  perplexity 1.00  [stream|valid]",
        "test   perplexity 1.00  [stream|test]",
        "note   train longer",
        "next   recurlm generate runs/a     recurlm eval runs/a     recurlm plot runs/a",
    ]
    assert (
        Result("my runs/a", 1, 1, 1.0, VALID, None)
        .summary()
        .endswith("next   recurlm generate 'my runs/a'     recurlm eval 'my runs/a'     recurlm plot 'my runs/a'")
    )
    assert [line[:4] for line in Result("a", 2, 1, 1.0, VALID, None).summary().split("\n")] == ["done", "vali", "next"]


def test_the_json_has_the_signature_of_the_test_text_where_there_is_one() -> None:
    assert Result("a", 2, 3, 1.23456, VALID, TEST).to_json() == {
        "run": "a",
        "epochs": 2,
        "steps": 3,
        "seconds": 1.235,
        "valid_perplexity": 1.0,
        "test_perplexity": 1.0,
        "signature": "stream|test",
        "valid_signature": "stream|valid",
    }
    without = Result("a", 2, 3, 1.0, VALID, None).to_json()
    assert (without["test_perplexity"], without["signature"]) == (None, "stream|valid")
