"""Questions about a memory over HTTP have the answers of `recurlm inspect --json`."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from cli.in_process import run_command
from recurlm.inspection.trace import trace
from recurlm.serving.bodies.inspection import InspectRequest
from recurlm.serving.inspecting import Inspector, Traces
from recurlm.serving.options import ServerOptions
from recurlm.serving.routes.inspection import InspectAnswers
from recurlm.serving.scoring import GivenUpError, Patience
from serving.http_server import RUN, Server, running_server

TEXT = "the red fruit is a cherry\n\nthe zebra is a lemon\n"


@pytest.fixture(scope="module")
def pair() -> Iterator[Server]:
    """The recorded run under two names, with few values in an answer."""
    options = ServerOptions(told_values=200, traced_values=500)
    with running_server(options, names=("fruit", "other")) as server:
        yield server


@pytest.fixture
def printed(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What the command prints for runs named fruit and other."""
    for name in ("fruit", "other"):
        shutil.copytree(RUN, tmp_path / name)

    def run(*options: object, text: str = TEXT) -> dict[str, Any]:
        done = run_command(["inspect", "fruit", "-", "--json", *map(str, options)], stdin=text, folder=tmp_path)
        assert done.code == 0, done.stderr
        remarks = [line.removeprefix("# ") for line in done.stderr.decode().splitlines()]
        report: dict[str, Any] = json.loads(done.stdout)
        assert report.pop("file") is None
        return {"model": "fruit", "remarks": remarks, **report}

    return run


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, []),
        ({"part": "hidden"}, ["--part", "hidden"]),
        ({"part": "input-gate"}, ["--part", "input-gate"]),
        ({"span": "2:3"}, ["--span", "2:3"]),
        ({"span": "2:3", "part": "forget"}, ["--span", "2:3", "--part", "forget"]),
        ({"instead": "yellow@2"}, ["--instead", "yellow@2"]),
        ({"instead": "<unk>@1"}, ["--instead", "<unk>@1"]),
        ({"remembered": 4}, ["--remembered", 4]),
    ],
    ids=str,
)
def test_an_answer_is_that_of_the_command(server: Server, printed, fields, options) -> None:
    answer = server.post("/inspect", model="fruit", text=TEXT, **fields)
    assert answer.status == 200, answer.body
    assert answer.json == printed(*options)
    assert answer.json["remarks"] == ["1 token unknown to fruit, read as <unk>: zebra"]
    TypeAdapter(InspectAnswers).validate_python(answer.json)


def test_several_served_models_are_compared(pair: Server, printed) -> None:
    answer = pair.post("/inspect", model="fruit", text=TEXT, remembered=3, **{"with": ["other"]}).json
    assert answer == printed("--remembered", 3, "--with", "other")
    assert [each["name"] for each in answer["models"]] == ["fruit", "other"]


def test_lines_end_as_in_a_file(server: Server, printed) -> None:
    text = "the red fruit\r\nit is sweet\r\n"
    assert server.post("/inspect", text=text).json == printed(text=text)


def test_layers_and_units_are_chosen(server: Server) -> None:
    (layer, *_) = whole = server.post("/inspect", text=TEXT, part="forget").json["layers"]
    assert server.post("/inspect", text=TEXT, part="forget", layer=1).json["layers"] == [whole[0]]
    (chosen,) = server.post("/inspect", text=TEXT, part="forget", layer=1, units=[3, 1]).json["layers"]
    assert chosen["units"] == [3, 1]
    assert chosen["values"] == [[row[2], row[0]] for row in layer["values"]]


def test_the_most_varied_units_are_told_with_their_numbers(server: Server) -> None:
    (layer, *_) = server.post("/inspect", text=TEXT).json["layers"]
    (varied, *_) = server.post("/inspect", text=TEXT, varied=4).json["layers"]
    columns = list(zip(*layer["values"], strict=True))
    mean = [sum(column) / len(column) for column in columns]
    spread = [sum((value - m) ** 2 for value in column) for column, m in zip(columns, mean, strict=True)]
    by_spread = sorted(range(len(columns)), key=lambda unit: -spread[unit])
    assert {unit - 1 for unit in varied["units"]} == set(by_spread[:4])
    assert varied["units"][0] - 1 == by_spread[0]
    assert list(zip(*varied["values"], strict=True)) == [columns[unit - 1] for unit in varied["units"]]


def test_units_that_hold_a_span_come_with_their_values(server: Server) -> None:
    layers = server.post("/inspect", text=TEXT).json["layers"]
    units = server.post("/inspect", text=TEXT, span="2:3", values=True).json["units"]
    assert units
    for unit in units:
        column = [row[unit["unit"] - 1] for row in layers[unit["layer"] - 1]["values"]]
        assert unit["values"] == column
        sign = 1 if unit["side"] == "above" else -1
        beyond = [sign * (value - unit["threshold"]) > 0 for value in column]
        assert beyond[:4] == [False, True, True, False]


@pytest.mark.parametrize(
    ("fields", "words", "param"),
    [
        ({"text": "\n\n"}, "text: the text is empty", None),
        ({"text": "it <eos>"}, "text, line 1: ", None),
        ({"part": "reset"}, "the model has no reset; it has cell, hidden, ", None),
        ({"layer": 9}, "layer 9: the model has no such layer", None),
        ({"units": [1]}, "units: belong to one layer; send layer too", "units"),
        ({"layer": 1, "units": [1, 999]}, "so none is number 999", None),
        ({"layer": 1, "units": [1], "varied": 2}, "leave out one of the two", "varied"),
        ({"layer": 0}, "layer: must be at least 1", "layer"),
        ({"span": "3:2"}, "span 3:2: give the first and the last token", None),
        ({"span": "2:99"}, "the text has the tokens 1 to 13", None),
        ({"span": "2:3", "instead": "a@1"}, "span and instead ask different questions", "instead"),
        ({"span": "2:3", "layer": 1}, "layer: does not go with span", "layer"),
        ({"values": True}, "values: goes with span, which is missing", "values"),
        ({"instead": "yellow"}, "give a word and the number of a token", None),
        ({"instead": "red@2"}, "the same word is there", None),
        ({"remembered": 4, "part": "cell"}, "part: does not go with remembered", "part"),
        ({"remembered": 201}, "this server allows at most 200", "remembered"),
        ({"remembered": 11, "text": "the red"}, "give a longer one", None),
        ({"with": ["fruit"]}, "with: goes with remembered, which is missing", "with"),
        ({"remembered": 2, "with": ["fruit"] * 8}, "with: 9 models: this server allows at most 8", "with"),
        ({"text": "it " * 10_001}, "more than 10,000 tokens up to line 1", None),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_said_plainly(server: Server, fields, words, param) -> None:
    answer = server.post("/inspect", **{"text": TEXT} | fields)
    assert answer.status == 400
    assert words in answer.error["message"]
    assert answer.error["param"] == param


def test_an_unknown_model_is_not_found(pair: Server) -> None:
    assert pair.post("/inspect", text=TEXT).status == 400
    answer = pair.post("/inspect", model="fruit", text=TEXT, remembered=2, **{"with": ["absent"]})
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


def test_an_answer_is_not_large_by_accident(pair: Server) -> None:
    refused = pair.post("/inspect", model="fruit", text=TEXT)
    assert (refused.status, refused.error["code"]) == (400, "limit")
    assert "values; this server allows at most 200: choose a layer, and units or varied" in refused.error["message"]
    assert pair.post("/inspect", model="fruit", text=TEXT, layer=1, units=[1]).status == 200
    longer = pair.post("/inspect", model="fruit", text="it " * 500, layer=1, units=[1])
    assert "this server allows at most 500; send fewer lines" in longer.error["message"]


@pytest.mark.parametrize("question", [{}, {"span": "1:2"}, {"instead": "yellow@2"}, {"remembered": 3}], ids=str)
def test_a_reader_who_left_is_not_answered(server: Server, question) -> None:
    patience = Patience()
    patience.end()
    body = InspectRequest.model_validate({"text": TEXT, **question})
    inspector, served = Inspector(ServerOptions()), server.served["fruit"]
    with pytest.raises(GivenUpError):
        (inspector.remembered if "remembered" in question else inspector.answer)(body, served, patience)


def test_the_traces_used_longest_ago_are_forgotten(server: Server) -> None:
    first, second, third = (trace(server.model.network, ids) for ids in ([2, 3], [3, 2], [2, 2]))
    kept = Traces(2 * first.nbytes)
    for each in (first, second):
        kept.keep("digest", each)
    assert kept.get("digest", first.ids) is first
    kept.keep("digest", third)
    assert kept.get("digest", second.ids) is None
    assert (kept.get("digest", first.ids), kept.get("digest", third.ids)) == (first, third)
    assert kept.get("other", first.ids) is None
