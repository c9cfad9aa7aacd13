import re

import pytest

from recurlm.errors import InputError, UsageError
from recurlm.recipe_files import load_recipe, parse_recipe
from recurlm.search.search_space import Choice, Range, changes_for, parse_space, parse_variation

RECIPE = parse_recipe({}, "test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.dropout.output=0.1..0.6", Range("model.dropout.output", 0.1, 0.6)),
        ("optimizer.learning_rate=log:1e-3..2e-2", Range("optimizer.learning_rate", 0.001, 0.02, True)),
        ("model.embedding_size = 100 .. 400", Range("model.embedding_size", 100, 400)),
        ("batches.batch_size=16|32|64", Choice("batches.batch_size", (16, 32, 64))),
        ("model.hidden_sizes=[256]|[256, 256]", Choice("model.hidden_sizes", ([256], [256, 256]))),
        ("optimizer.kind=sgd|adamw", Choice("optimizer.kind", ("sgd", "adamw"))),
        ("model.tied=true|false", Choice("model.tied", (True, False))),
    ],
)
def test_a_variation_is_a_range_or_choices(text: str, expected: Range | Choice) -> None:
    assert parse_variation(text) == expected
    assert parse_variation(str(expected)) == expected


def test_a_range_is_of_whole_numbers_where_both_ends_are() -> None:
    assert Range("a", 1, 10).whole
    assert not Range("a", 1, 10.0).whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.learning_rate", "write it as key=0.1..0.6"),
        ("=1..2", "write it as key=0.1..0.6"),
        ("optimizer.learning_rate=fast..slow", "the ends of a range are numbers"),
        ("optimizer.learning_rate=true..2", "the ends of a range are numbers"),
        ("optimizer.learning_rate=2e-2..1e-3", "from the smaller to the larger"),
        ("optimizer.learning_rate=log:0.0..0.1", "zero has no logarithm"),
        ("batches.batch_size=16", "two different values at least"),
        ("batches.batch_size=16|16", "two different values at least"),
        ("text.minimum_count=1..5", "cannot be compared"),
        ("validation.protocol=stream|sentence", "cannot be compared"),
        ("corpus=ptb|wikitext-2", "cannot be compared"),
    ],
)
def test_what_cannot_be_varied_is_refused_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_variation(text)


def test_every_end_is_held_to_the_schema() -> None:
    with pytest.raises(InputError, match=r"--vary optimizer.learning_rat=.*did you mean learning_rate"):
        parse_space(["optimizer.learning_rat=0.1..0.2"], RECIPE)
    with pytest.raises(InputError, match=r"model.dropout.output"):
        parse_space(["model.dropout.output=0.1..1.5"], RECIPE)
    with pytest.raises(InputError, match=r"batches.batch_size"):
        parse_space(["batches.batch_size=16|32|none"], RECIPE)
    # neither alone would fit with tied embeddings, together they do
    tied = parse_recipe({"model": {"tied": True, "embedding_size": 64, "hidden_sizes": [64]}}, "test")
    parse_space(["model.embedding_size=16|32", "model.hidden_sizes=[16]|[32]"], tied)


def test_a_key_is_varied_once() -> None:
    with pytest.raises(UsageError, match="given twice"):
        parse_space(["training.clip_norm=0.1..1.0", "training.clip_norm=1..2"], RECIPE)


def test_batches_stay_where_they_decide_what_is_counted() -> None:
    with pytest.raises(UsageError, match="mxnet counts tokens by the batches"):
        parse_space(["batches.batch_size=16|32"], load_recipe("mxnet-bucketing"))


def test_without_variations_the_recipe_s_own_rate_decay_and_dropouts_vary() -> None:
    # recipe default: rate 4e-3, decay 0.01, dropouts 0.05, 0.2, 0.2, 0.3
    assert parse_space([], load_recipe("default")) == (
        Range("optimizer.learning_rate", 0.001, 0.016, True),
        Range("optimizer.weight_decay", 0.001, 0.1, True),
        Range("model.dropout.embedding", 0.0, 0.25),
        Range("model.dropout.input", 0.0, 0.4),
        Range("model.dropout.between", 0.0, 0.4),
        Range("model.dropout.output", 0.0, 0.5),
    )
    # zaremba-small drops nothing and decays nothing; its rate is 1
    assert parse_space([], load_recipe("zaremba-small")) == (
        Range("optimizer.learning_rate", 0.25, 4, True),
        Range("model.dropout.input", 0.0, 0.5),
        Range("model.dropout.output", 0.0, 0.5),
    )


def test_values_become_changes_as_set_takes_them() -> None:
    assert changes_for({"a.b": 1e-05, "c.d": [16, 32], "e.f": True, "g.kind": "sgd"}) == (
        "a.b=1e-05",
        "c.d=[16, 32]",
        "e.f=true",
        'g.kind="sgd"',
    )
