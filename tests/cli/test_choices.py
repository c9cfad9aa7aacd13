from typing import get_args

import pytest
from typer.testing import CliRunner

from recurlm.cli import choices
from recurlm.cli.main import app
from recurlm.comparison import contenders
from recurlm.config import TextOptions
from recurlm.devices import DEVICES, PRECISIONS
from recurlm.evaluation.adaptation import METHODS
from recurlm.evaluation.protocols import PROTOCOLS
from recurlm.rescoring.formats import reading, writing
from recurlm.runs.growth import INITS
from recurlm.scoring import formats, scorer
from recurlm.text.recorded import PARTS
from recurlm.text.tables import TABLE_KINDS

KNOWN = [
    (choices.Device, DEVICES),
    (choices.Precision, PRECISIONS),
    (choices.Split, PARTS),
    (choices.Protocol, PROTOCOLS),
    (choices.ComparableProtocol, contenders.COMPARABLE_PROTOCOLS),
    (choices.Method, METHODS),
    (choices.ScoreFormat, (*formats.WRITERS, "html")),
    (choices.TableKind, TABLE_KINDS),
    (choices.LogBase, formats.LOG_BASES),
    (choices.Context, get_args(scorer.Context)),
    (choices.Unit, get_args(scorer.Unit)),
    (choices.TextUnit, get_args(TextOptions.model_fields["unit"].annotation)),
    (choices.NBestFormat, reading.FORMATS),
    (choices.RescoredFormat, writing.WRITERS),
    (choices.NewWeights, INITS),
]


@pytest.mark.parametrize(("choice", "names"), KNOWN)
def test_a_choice_has_the_names_that_the_library_knows(choice, names):
    assert [str(each) for each in choice] == list(names)


def test_every_choice_is_held_to_the_library():
    defined = {each for each in vars(choices).values() if isinstance(each, type) and issubclass(each, choices.Choice)}
    assert defined - {choices.Choice} == {choice for choice, _ in KNOWN}


@pytest.mark.parametrize(
    ("arguments", "option", "known"),
    [
        (["eval", "R", "--protocol", "steam"], "--protocol", "stream"),
        (["compare", "R", "TEXT", "--protocol", "mxnet"], "--protocol", "sentence"),
        (["adapt", "R", "--method", "caches"], "--method", "cache"),
        (["adapt", "R", "--method", "cache", "--tune", "dev"], "--tune", "valid"),
        (["eval", "R", "--split", "dev"], "--split", "valid"),
        (["score", "R", "--format", "csv"], "--format", "tsv"),
        (["score", "R", "--log-base", "3"], "--log-base", "10"),
        (["score", "R", "--context", "carried"], "--context", "carry"),
        (["score", "R", "--unit", "words"], "--unit", "word"),
        (["score", "R", "--precision", "fp16"], "--precision", "bf16"),
        (["train", "--device", "gpu"], "--device", "cuda"),
        (["rescore", "R", "list", "--format", "julius"], "--format", "kaldi"),
        (["rescore", "R", "list", "--output-format", "worst"], "--output-format", "best"),
        (["vocabulary", "R", "--extend", "F", "--out", "N", "--init", "zero"], "--init", "mean"),
    ],
)
def test_another_name_is_refused_with_those_that_there_are(arguments, option, known):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert f"'{known}'" in result.output


def test_a_choice_reads_as_a_plain_string_in_messages():
    assert f"{choices.Split.VALID!r} {choices.Split.VALID}" == "'valid' valid"
