import pytest

from recurlm.config import Recipe, TextOptions
from recurlm.errors import InputError
from recurlm.recipe_files import (
    apply_change,
    apply_changes,
    load_recipe,
    parse_recipe,
    parse_recorded_recipe,
    recipe_names,
    recipe_text,
    recipe_toml,
)


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("training.epochs=3", {"training": {"epochs": 3}}),
        (" training.epochs = 3 ", {"training": {"epochs": 3}}),
        ("model.cell=gru", {"model": {"cell": "gru"}}),
        ('model.cell="gru"', {"model": {"cell": "gru"}}),
        ("model.hidden_sizes=[8, 9]", {"model": {"hidden_sizes": [8, 9]}}),
        ("model.tied=true", {"model": {"tied": True}}),
        ("model.dropout.output=0.5", {"model": {"dropout": {"output": 0.5}}}),
        ("schedule.kind=one-cycle", {"schedule": {"kind": "one-cycle"}}),
        ("description=a = b", {"description": "a = b"}),
        ("description=", {"description": ""}),
    ],
)
def test_a_change_is_read_as_toml_or_as_a_bare_word(change, values):
    changed: dict = {}
    apply_change(changed, change)
    assert changed == values


@pytest.mark.parametrize("change", ["training.epochs", "=3", "training..epochs=3", ".=1"])
def test_a_change_of_another_form_is_refused_with_an_example(change):
    with pytest.raises(InputError, match=r"--set .*such as --set training\.epochs=3"):
        apply_change({}, change)


def test_a_change_below_a_plain_value_is_refused():
    with pytest.raises(InputError, match="epochs is a value, not a section"):
        apply_change({"training": {"epochs": 3}}, "training.epochs.first=1")


def test_a_change_of_kind_starts_the_section_anew():
    values = {"optimizer": {"kind": "adam", "beta1": 0.8, "learning_rate": 0.1}}
    apply_change(values, "optimizer.kind=sgd")
    assert values == {"optimizer": {"kind": "sgd"}}
    values = {"optimizer": {"kind": "adam", "beta1": 0.8}}
    apply_change(values, "optimizer.kind=adam")
    assert values == {"optimizer": {"kind": "adam", "beta1": 0.8}}


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[optimizer]\nkind = "adam"\nbeta1 = 0.8\n\n[training]\nepochs = 2\n', "utf-8")
    return path


def test_a_recipe_file_is_loaded_with_changes_laid_over_it(recipe_file):
    recipe = load_recipe(str(recipe_file), ["training.epochs=5"])
    assert (recipe.training.epochs, recipe.optimizer.kind, recipe.optimizer.beta1) == (5, "adam", 0.8)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_change_of_kind_keeps_the_other_changes_whatever_their_order(recipe_file, reverse):
    changes = ["optimizer.kind=sgd", "optimizer.learning_rate=7"]
    recipe = load_recipe(str(recipe_file), changes[::-1] if reverse else changes)
    assert (recipe.optimizer.kind, recipe.optimizer.learning_rate) == ("sgd", 7.0)


def test_what_is_not_toml_is_refused_with_file_and_line(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text("[training]\nepochs = = 3\n", "utf-8")
    with pytest.raises(InputError, match=r"broken\.toml: not TOML: .*line 2"):
        load_recipe(str(path))


def test_what_is_not_utf8_is_refused_with_file_and_byte(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes(b'source = "\xe9"\n')
    with pytest.raises(InputError, match=r"latin\.toml: not UTF-8 at byte 10"):
        load_recipe(str(path))


def test_a_recipe_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="no recipe and no file named 'nowhere'"):
        recipe_text("nowhere")


def test_an_error_in_a_file_names_the_file(recipe_file):
    recipe_file.write_text("[training]\nepochs = 0\n", "utf-8")
    with pytest.raises(InputError, match=r"mine\.toml: training\.epochs: .*greater than or equal to 1"):
        load_recipe(str(recipe_file))


def test_a_recipe_survives_json(recipe_file):
    recipe = load_recipe(str(recipe_file), ["model.hidden_sizes=[3,4]", "schedule.kind=cosine"])
    assert parse_recipe(recipe.model_dump(mode="json"), "again") == recipe


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_loads_and_says_what_it_is_for(name):
    assert load_recipe(name).description


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_its_toml(name, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(load_recipe(name)), "utf-8")
    assert load_recipe(str(path)) == load_recipe(name)


def test_a_recipe_s_toml_takes_every_kind_of_value(tmp_path):
    values = {
        "description": 'a "quoted" line,\nand 中文',
        "text": {"unit": "bpe", "merges": 300},
        "model": {"cell": ["lstm", "qrnn"], "hidden_sizes": [8, 8], "output": {"kind": "mixture", "experts": 3}},
        "optimizer": {"kind": "sgd", "learning_rate": 1e-05, "weight_decay": 1},
    }
    recipe = parse_recipe(values, "test")
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe), "utf-8")
    assert load_recipe(str(path)) == recipe
    assert '[model.output]\nkind = "mixture"' in recipe_toml(recipe)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (f"training.epochs={'[' * 50_000}", "nested more than 64 deep"),
        (f"training.epochs={'7' * 5_000}", "more than 400 digits"),
        ("training.epochs=nan", "nan is not a finite number"),
        (f"{'a.' * 50_000}a=1", "write it as section.key=value"),
    ],
)
def test_a_change_that_cannot_be_meant_is_an_input_error(change, said):
    with pytest.raises(InputError, match=said) as error:
        load_recipe("demo", [change])
    assert len(str(error.value)) < 500


def test_a_recipe_file_is_read_within_bounds(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + recipe_text("demo")[0].encode())
    assert load_recipe(str(path)) == load_recipe("demo")
    path.write_bytes(b"# " + b"x" * (1 << 20))
    with pytest.raises(InputError, match=r"mine\.toml is larger than 1,048,576 bytes"):
        load_recipe(str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"mine\.toml: not UTF-8 at byte 0"):
        load_recipe(str(path))


def recorded(bidirectional: object) -> dict:
    values = Recipe().model_dump(mode="json")
    values["model"]["bidirectional"] = bidirectional
    return values


def test_a_recorded_recipe_may_have_the_removed_key_with_its_only_value():
    values = recorded(False)
    assert parse_recorded_recipe(values, "config.json") == parse_recorded_recipe(Recipe().model_dump(mode="json"), "")
    assert values == recorded(False)


@pytest.mark.parametrize("value", [True, 0, None, "false"])
def test_a_recorded_recipe_with_another_value_of_the_removed_key_is_refused(value):
    with pytest.raises(
        InputError, match=r"^config\.json: model\.bidirectional: unknown key; a bidirectional layer reads"
    ):
        parse_recorded_recipe(recorded(value), "config.json")


def test_another_unit_drops_the_keys_of_the_old_one_and_brings_its_usual_ones():
    pieces = {"text": {"unit": "bpe", "merges": 300, "minimum_count": 2}}
    apply_changes(pieces, ["text.unit=word"])
    assert parse_recipe(pieces, "f").text == TextOptions(minimum_count=2)
    prose = {"text": {"cut": "prose", "lowercase": True}}
    apply_changes(prose, ["text.merges=500", "text.unit=bpe"])
    assert parse_recipe(prose, "f").text == TextOptions(unit="bpe", merges=500)
    assert TextOptions(unit="bpe").merges == 8000
    same = {"text": {"cut": "prose", "lowercase": True}}
    apply_changes(same, ["text.unit=word"])
    assert parse_recipe(same, "f").text == TextOptions(cut="prose", lowercase=True)
