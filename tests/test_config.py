import typing

import pytest
from pydantic import BaseModel, ValidationError

from recurlm.config import ModelOptions, Recipe, sections
from recurlm.errors import InputError
from recurlm.recipe_files import load_recipe, parse_recipe


def refusal(values: dict) -> str:
    with pytest.raises(InputError) as caught:
        parse_recipe(values, "my.toml")
    message = str(caught.value)
    assert message.startswith("my.toml: ")
    return message.removeprefix("my.toml: ")


def models_in(model: type[BaseModel]) -> set[type[BaseModel]]:
    found, pending = set(), [model]
    while pending:
        current = pending.pop()
        if isinstance(current, type) and issubclass(current, BaseModel):
            if current not in found:
                found.add(current)
                pending += [field.annotation for field in current.model_fields.values()]
        else:
            pending += [part for part in typing.get_args(current) if not isinstance(part, str)]
    return found


def test_an_empty_recipe_is_the_defaults():
    assert parse_recipe({}, "empty") == Recipe()


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Recipe().training.epochs = 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modle": {}}, "modle: unknown key; did you mean model?"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key; did you mean epochs?"),
        ({"model": {"mogrifier": {"rnak": 8}}}, "model.mogrifier.rnak: unknown key; did you mean rank?"),
        ({"model": {"dropout": {"inptu": 0.1}}}, "model.dropout.inptu: unknown key; did you mean input?"),
        ({"optimizer": {"kind": "sgd", "momentun": 0.9}}, "optimizer.momentun: unknown key; did you mean momentum?"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(values, message):
    assert refusal(values) == message


def test_a_key_of_another_kind_is_not_proposed():
    message = refusal({"optimizer": {"kind": "sgd", "beta1": 0.9}})
    assert message == "optimizer.beta1: unknown key; known here: kind, learning_rate, momentum, weight_decay"


def test_an_unknown_key_that_is_called_like_a_kind_is_shown():
    assert refusal({"training": {"step": 3}}).startswith("training.step: unknown key; known here: ")


def test_a_section_without_its_kind_is_told_the_kinds():
    message = refusal({"optimizer": {"learning_rate": 0.1}})
    assert message == "optimizer: kind is missing; it is one of sgd, adam, adamw, rmsprop, muon"


def test_an_unknown_kind_is_told_the_kinds():
    message = refusal({"schedule": {"kind": "cosin"}})
    assert message.startswith("schedule: ")
    assert all(kind in message for kind in ("cosin", "'cosine'", "'one-cycle'", "'plateau'", "'step'", "'constant'"))


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("training.epochs", 0, "0"),
        ("training.epochs", "2", "'2'"),
        ("training.epochs", True, "True"),
        ("training.epochs", 2.0, "2.0"),
        ("training.clip_norm", 0, "0"),
        ("training.clip_norm", float("inf"), "inf"),
        ("training.clip_norm", float("nan"), "nan"),
        ("model.tied", 1, "1"),
        ("model.tied", "true", "'true'"),
        ("model.cell", "lstn", "'lstn'"),
        ("model.residual", 1, "1"),
        ("model.dropout.between", 1.0, "1.0"),
        ("model.hidden_sizes", 256, "256"),
        ("model.hidden_sizes", [], "[]"),
        ("model.dropout.output", 1.0, "1.0"),
        ("model.dropout.output", -0.1, "-0.1"),
        ("text.minimum_count", 0, "0"),
        ("text.maximum_size", 1, "1"),
        ("validation.full_batches", 0, "0"),
        ("description", 3, "3"),
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused_with_path_and_value(path, value, shown):
    values: dict = {}
    *outer, last = path.split(".")
    section = values
    for key in outer:
        section = section.setdefault(key, {})
    section[last] = value
    message = refusal(values)
    assert message.startswith(f"{path}: ")
    assert f"(got {shown})" in message


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"kind": "mixture", "expert": 2}, "model.output.expert: unknown key; did you mean experts?"),
        ({"kind": "softmax", "cutoffs": [5]}, "model.output.cutoffs: unknown key; known here: kind"),
        ({"experts": 2}, "model.output: kind is missing; it is one of softmax, sampled, mixture, adaptive"),
        ({"kind": "mixture", "experts": 0}, "model.output.experts: Input should be greater than or equal to 1 (got 0)"),
        (
            {"kind": "adaptive", "cutoffs": [5, 5]},
            "model.output.cutoffs: cutoffs must be increasing ids, such as [2000, 10000] (got [5, 5])",
        ),
    ],
)
def test_an_output_layer_is_checked_by_its_kind(output, message):
    assert refusal({"model": {"output": output}}) == message


def test_what_can_be_tied_depends_on_the_output_layer():
    sizes = {"embedding_size": 3, "hidden_sizes": [4], "tied": True}
    assert parse_recipe({"model": sizes | {"output": {"kind": "mixture"}}}, "f").model.tied
    assert "equal to the last of hidden_sizes" in refusal({"model": sizes})
    assert "tied needs one matrix for all words" in refusal({"model": sizes | {"output": {"kind": "adaptive"}}})


def test_one_value_serves_all_layers_or_each_has_its_own():
    one = ModelOptions(embedding_size=4, hidden_sizes=(4, 6, 6), residual=True, dropout={"between": 0.1})
    assert one.cells == ("lstm", "lstm", "lstm")
    assert one.residuals == (True, False, True)
    assert one.dropouts_between == (0.1, 0.1)
    assert one.layers_in_words == "lstm 4 + 6 + 6"
    values = {"embedding_size": 4, "hidden_sizes": [4, 6, 6], "cell": ["lstm", "gru", "gru"]}
    values |= {"residual": [False, False, True], "dropout": {"between": [0.1, 0]}}
    each = parse_recipe({"model": values}, "f").model
    assert each.cells == ("lstm", "gru", "gru")
    assert each.residuals == (False, False, True)
    assert each.dropouts_between == (0.1, 0.0)
    assert each.layers_in_words == "lstm 4 + gru 6 + 6"
    assert ModelOptions.model_validate_json(each.model_dump_json()) == each


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cell": ["lstm"]}, "cell has 1 value, but hidden_sizes has 2 layers; give one for each"),
        ({"residual": [True] * 3}, "residual has 3 values, but hidden_sizes has 2 layers; give one for each"),
        ({"dropout": {"between": [0.1, 0.2]}}, "dropout.between has 2 values, but hidden_sizes has 2 layers; give 1"),
        (
            {"residual": [False, True]},
            "residual is true for layer 2, but its input of size 4 cannot be added to its",
        ),
        ({"cell": "qrnn", "qrnn": {"window": [2]}}, "qrnn.window has 1 value, but hidden_sizes has 2 layers"),
        ({"skip": True}, "skip adds the outputs of all layers, so all hidden_sizes must be equal"),
        (
            {"cell": "mogrifier", "mogrifier": {"rank": 4}},
            "mogrifier.rank is 4, but layer 1 has sizes 256 and 4; a low rank is below both",
        ),
    ],
)
def test_values_that_do_not_fit_the_layers_are_refused(values, message):
    assert refusal({"model": {"hidden_sizes": [4, 6], **values}}).startswith(f"model: {message}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cell": "gru", "input_gate": "capped"}, "input_gate belongs to cell = 'lstm' or 'mogrifier' or"),
        ({"mogrifier": {"rounds": 3}}, "mogrifier belongs to cell = 'mogrifier', which no layer has"),
        ({"qrnn": {"window": 1}}, "qrnn belongs to cell = 'qrnn', which no layer has"),
        (
            {"skip": True, "residual": [False, True]},
            "skip and residual both carry lower layers' outputs past upper",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(values, message):
    assert refusal({"model": values}).startswith(f"model: {message}")


CELL_KINDS = "'lstm', 'mogrifier', 'layer-norm-lstm', 'gru', 'mingru', 'qrnn', 'tanh', 'relu' or 'sigmoid'"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cell": ["gru", "lstn"]}, f"model.cell.1: Input should be {CELL_KINDS}"),
        ({"residual": ["yes", False]}, "model.residual.0: Input should be a valid boolean"),
        ({"dropout": {"between": [1.0]}}, "model.dropout.between.0: Input should be less than 1"),
    ],
)
def test_a_value_of_one_layer_is_refused_with_its_place(values, message):
    assert refusal({"model": values}).startswith(f"{message} (got ")


@pytest.mark.parametrize("buckets", [[0, 10], [10, 5], [10, 10], [], "atuo", 10])
def test_buckets_must_be_increasing_lengths(buckets):
    message = refusal({"batches": {"kind": "sentences", "buckets": buckets}})
    assert message.startswith("batches.buckets")
    assert "constrained" not in message
    assert "literal[" not in message


def test_whole_numbers_serve_as_real_ones():
    assert parse_recipe({"training": {"clip_norm": 1}}, "f").training.clip_norm == 1.0


@pytest.mark.parametrize("value", [True, False])
def test_the_removed_key_bidirectional_is_refused_with_the_reason(value):
    assert refusal({"model": {"bidirectional": value}}) == (
        "model.bidirectional: unknown key; a bidirectional layer reads the words it should predict, so its perplexity "
        "means nothing; remove the key"
    )


def test_tied_embeddings_need_equal_sizes():
    message = refusal({"model": {"tied": True, "embedding_size": 8, "hidden_sizes": [8, 16]}})
    assert "embedding_size (8)" in message
    assert "hidden_sizes (16)" in message
    assert parse_recipe({"model": {"tied": True, "embedding_size": 16, "hidden_sizes": [8, 16]}}, "f").model.tied


@pytest.mark.parametrize(
    "text",
    [
        {"merges": 300},
        {"unit": "character", "cut": "prose"},
        {"cut": "spaces", "lowercase": True},
        {"unit": "character", "digits": "mask"},
        {"unknown": False, "minimum_count": 2},
        {"unknown": False, "maximum_size": 9},
    ],
)
def test_text_options_that_contradict_each_other_are_refused(text):
    assert refusal({"text": text}).startswith("text: ")


@pytest.mark.parametrize("options", [{"digits": "mask"}, {"lowercase": True}, {"cut": "auto", "lowercase": True}])
def test_options_of_prose_choose_prose(options):
    assert parse_recipe({"text": options}, "f").text.cut == "prose"


def test_full_batches_belong_to_the_mxnet_protocol():
    assert "validation.full_batches belongs" in refusal({"validation": {"full_batches": 50}})
    assert parse_recipe({"validation": {"full_batches": 50, "protocol": "mxnet"}}, "f").validation.full_batches == 50


def test_sentences_have_no_documents_of_several_lines():
    sentences = {"kind": "sentences"}
    assert 'belongs to batches.kind = "stream"' in refusal({"text": {"document": "blank-line"}, "batches": sentences})
    assert parse_recipe({"text": {"document": "line"}, "batches": sentences}, "f").text.document == "line"
    assert parse_recipe({"text": {"document": "blank-line"}}, "f").batches.kind == "stream"


@pytest.mark.parametrize("section", sorted(models_in(Recipe), key=lambda section: section.__name__))
def test_every_field_has_a_description(section):
    assert section.__doc__
    for name, field in section.model_fields.items():
        if name not in sections(Recipe) and name not in sections(ModelOptions):
            assert field.description, f"{section.__name__}.{name}"


def test_the_table_of_sections_is_the_schema():
    inner = {name for name, field in Recipe.model_fields.items() if models_in(Recipe) & _classes(field.annotation)}
    assert set(sections(Recipe)) == inner
    listed = {
        section for table in (sections(Recipe), sections(ModelOptions)) for kinds in table.values() for section in kinds
    }
    assert listed | {Recipe} == models_in(Recipe)


def _classes(annotation: object) -> set[object]:
    parts = typing.get_args(annotation)
    return {annotation} if isinstance(annotation, type) else set().union(*map(_classes, parts)) if parts else set()


@pytest.mark.parametrize("place", ["recurrent_weights", "state"])
def test_dropout_that_no_layer_could_apply_is_refused(place):
    model = {"cell": ["mingru", "qrnn"], "hidden_sizes": [8, 8], "dropout": {place: 0.5}}
    message = f"dropout.{place} needs a recurrent matrix, which no layer of kind mingru or qrnn has"
    assert message in refusal({"model": model})
    parse_recipe({"model": model | {"cell": ["lstm", "qrnn"]}}, "one of them has it")


FAR_TOO_LARGE = [
    "training.epochs=1000000000",
    "text.merges=1000000000",
    "text.minimum_count=100000000000",
    "batches.batch_size=1000000000000",
    "batches.bptt=1000000000000",
    "validation.columns=1000000000000",
    "model.embedding_size=1000000",
    "model.hidden_sizes=[1000000]",
    "optimizer.learning_rate=1e300",
    "training.checkpoint_seconds=1e300",
]


@pytest.mark.parametrize("change", FAR_TOO_LARGE)
def test_numbers_that_no_machine_has_room_or_time_for_are_refused_at_once(change: str) -> None:
    key = change.partition("=")[0]
    unit = ("text.unit=bpe",) if key == "text.merges" else ()
    with pytest.raises(InputError, match=rf"{key}.*less than or equal to"):
        load_recipe("default", (change, *unit))


def test_a_model_of_a_million_layers_is_refused_in_a_short_message() -> None:
    values = {"model": {"embedding_size": 2, "hidden_sizes": [2] * 1_000_000}}
    with pytest.raises(InputError, match=r"model.hidden_sizes: Tuple should have at most 100 items") as refused:
        parse_recipe(values, "recipe")
    assert len(str(refused.value)) < 400


def test_the_limits_leave_room_for_large_machines() -> None:
    changes = ("training.epochs=1000000", "batches.batch_size=1000000", "model.embedding_size=65536")
    recipe = load_recipe("default", (*changes, "model.tied=false", f"model.hidden_sizes={[65536] * 100}"))
    assert recipe.model.hidden_sizes[-1] == 65_536


def test_every_number_of_a_recipe_has_an_upper_limit() -> None:
    def unbounded(schema: dict, name: str) -> list[str]:
        if schema.get("type") in ("integer", "number"):
            return [] if {"maximum", "exclusiveMaximum"} & schema.keys() else [name]
        below = [*schema.get("anyOf", []), *filter(None, [schema.get("items")])]
        return [found for each in below for found in unbounded(each, name)]

    kinds = [kind for several in (*sections(Recipe).values(), *sections(ModelOptions).values()) for kind in several]
    keys = [item for kind in kinds for item in kind.model_json_schema()["properties"].items()]
    assert [found for name, schema in keys for found in unbounded(schema, name)] == []
