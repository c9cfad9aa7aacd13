"""Scores, n-best lists and tokens over HTTP equal those of the commands."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.in_process import Outcome, succeeding
from serving.http_server import RUN, Server

LINES = ["the red fruit is a cherry", "it is sweet", "", "the zebra is a lemon", "it is"]


@pytest.fixture
def recurlm(tmp_path: Path) -> Callable[..., Outcome]:
    """Runs the command line in this process."""
    return succeeding(tmp_path)


def test_scores_are_those_of_the_command(server: Server, recurlm) -> None:
    answer = server.post("/score", model="fruit", lines=LINES).json
    done = recurlm("score", RUN, "--json", stdin="".join(f"{line}\n" for line in LINES))
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    signature = next(line for line in done.stderr.decode().splitlines() if line.startswith("# score|")).removeprefix(
        "# "
    )

    assert answer["lines"] == printed
    assert answer["signature"] == signature
    assert f"# perplexity {answer['perplexity']:.3f}" in done.stderr.decode()
    assert (answer["tokens"], answer["oov"]) == (sum(len(line["tokens"]) for line in printed), 1)


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"context": "carry"}, ["--context", "carry"]),
        ({"after": " is "}, ["--after", " is "]),
        ({"unit": "word", "oov": "skip"}, ["--unit", "word", "--oov", "skip"]),
        ({"oov": "floor:-9.5"}, ["--oov", "floor:-9.5"]),
    ],
    ids=str,
)
def test_options_of_scores_are_those_of_the_command(server: Server, recurlm, fields, options) -> None:
    lines = [line for line in LINES if " is " in line]
    answer = server.post("/score", lines=lines, **fields).json
    done = recurlm("score", RUN, "--json", *options, stdin="".join(f"{line}\n" for line in lines))
    assert answer["lines"] == [json.loads(line) for line in done.stdout.splitlines()]
    assert answer["signature"] in done.stderr.decode().splitlines()[-1]


def test_predictions_are_told_where_asked_for(server: Server) -> None:
    (line,) = server.post("/score", lines=["the red fruit"], likeliest=3).json["lines"]
    table = server.post("/score", lines=["the red fruit"], predictions=True).json["lines"][0]
    for token, without in zip(line["tokens"], table["tokens"], strict=True):
        likeliest = token.pop("likeliest")
        assert token == without
        assert [each["logprob"] for each in likeliest] == sorted((each["logprob"] for each in likeliest), reverse=True)
        assert token["rank"] > 3 or {"token": token["token"], "logprob": token["logprob"]} in likeliest


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lines": []}, "lines: must not be empty"),
        ({"lines": ["a\nb"]}, "lines.0: contains a line feed"),
        ({"lines": ["the"] * 10_001}, "this server allows at most 10,000"),
        ({"lines": ["the " * 50] * 5_000}, "tokens: this server allows at most 200,000"),
        ({"lines": ["the"], "oov": "perhaps"}, "oov 'perhaps': write unk, skip"),
        ({"lines": ["the"], "after": "is"}, "line 1: 'is' must occur in it once"),
        ({"lines": ["<eos>"]}, "holds the word <eos> itself"),
        ({"lines": ["the"], "likeliest": 21}, "likeliest: 21: this server allows at most 20"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_lines_are_refused_with_their_place(server: Server, fields: dict[str, object], words: str) -> None:
    answer = server.post("/score", **fields)
    assert answer.status == 400
    assert words in answer.error["message"]


HYPOTHESES = [
    {"text": "the lemon is a cherry", "acoustic": -10.0, "language": -5.0},
    {"text": "the red fruit is a cherry", "acoustic": -10.5, "language": -7.0},
    {"text": "the read fruit is a cherry", "acoustic": -10.1, "language": -6.0},
]


@pytest.mark.parametrize(
    "fields",
    [{}, {"weight": 0.9, "lm_scale": 2.0, "acoustic_scale": 0.5, "length_bonus": 1.5}, {"oov": "skip"}],
    ids=str,
)
def test_an_n_best_list_is_ordered_as_by_the_command(server: Server, recurlm, tmp_path: Path, fields) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps({"utterance": "u", **each}) + "\n" for each in HYPOTHESES))
    options = [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", value)]
    done = recurlm("rescore", RUN, path, "--output-format", "jsonl", *options)
    printed = [json.loads(line) for line in done.stdout.splitlines()]

    answer = server.post("/rescore", model="fruit", hypotheses=HYPOTHESES, **fields).json
    assert [{"utterance": "u", **each} for each in answer["hypotheses"]] == printed
    assert answer["options"]["weight"] == fields.get("weight", 0.5)


def test_a_list_needs_the_same_scores_throughout(server: Server) -> None:
    answer = server.post("/rescore", hypotheses=[HYPOTHESES[0], {"text": "the"}])
    assert (answer.status, answer.error["param"]) == (400, "hypotheses.1")
    assert "no acoustic score, which other hypotheses have" in answer.error["message"]
    weighed = server.post("/rescore", hypotheses=[{"text": "the"}], weight=0.5)
    assert "no costs of an old language model" in weighed.error["message"]


def test_text_becomes_ids_and_ids_become_text(server: Server) -> None:
    found = server.post("/tokenize", prompt="<eos>the zebra\nis", add_special_tokens=False, return_token_strs=True).json
    assert found == {
        "count": 5,
        "max_model_len": 32_768,
        "tokens": [0, 3, 1, 0, 2],
        "token_strs": ["<eos>", "the", "<unk>", "<eos>", "is"],
        "unknown": ["zebra"],
    }
    assert server.post("/detokenize", tokens=found["tokens"]).json == {"prompt": "\nthe <unk>\nis"}
    assert server.post("/detokenize", tokens=[14]).error["message"].startswith("tokens: id 14 is not in the vocabulary")
