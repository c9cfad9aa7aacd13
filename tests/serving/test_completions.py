"""Completions over a real socket, against the model itself and OpenAI's form."""

import json

import pytest

from recurlm.serving.options import ServerOptions
from serving.http_server import Server, running_server


def test_a_completion_has_openai_s_form(server: Server) -> None:
    answer = server.post("/v1/completions", model="fruit", prompt="the red", max_tokens=3, seed=1).json

    assert set(answer) == {"id", "object", "created", "model", "choices", "usage"}
    assert answer["object"] == "text_completion"
    assert answer["model"] == "fruit"
    (choice,) = answer["choices"]
    assert set(choice) == {"text", "index", "logprobs", "finish_reason"}
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "length")
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}


def test_greedy_texts_are_those_of_generate(server: Server) -> None:
    (choice,) = server.complete(prompt="the red", max_tokens=12, temperature=0)
    expected = server.model.generate("the red", tokens=12, temperature=0)
    assert "the red" + choice["text"] == expected.whole


def test_sixteen_tokens_are_drawn_unless_a_request_says_how_many(server: Server) -> None:
    assert server.post("/v1/completions", prompt="the").json["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    ("prompt", "reads"),
    [
        ("the red", ["the red"]),
        (["the red", "it is"], ["the red", "it is"]),
        ([3, 6], ["the red"]),
        ([[3, 6], [3]], ["the red", "the"]),
        ("", [""]),
        (None, [""]),
        ("<eos>the", ["\nthe"]),
    ],
)
def test_a_prompt_comes_in_any_of_four_forms(server: Server, prompt: object, reads: list[str]) -> None:
    choices = server.complete(prompt=prompt, max_tokens=0, echo=True)
    assert [choice["text"] for choice in choices] == reads


def test_n_texts_of_each_prompt_are_those_of_seeds_that_follow_each_other(server: Server) -> None:
    choices = server.complete(prompt=["the", "it"], n=2, seed=7, max_tokens=6)
    alone = [server.complete(prompt=prompt, seed=seed, max_tokens=6)[0] for prompt in ("the", "it") for seed in (7, 8)]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"] for choice in choices] == [choice["text"] for choice in alone]


def test_without_a_seed_texts_differ(server: Server) -> None:
    assert len({server.complete(max_tokens=30)[0]["text"] for _ in range(5)}) > 1


def test_echoed_log_probabilities_are_those_of_score(server: Server) -> None:
    line = server.model.score(["the red fruit"])[0]
    (choice,) = server.complete(prompt="the red fruit", max_tokens=0, echo=True, logprobs=0)

    assert choice["text"] == "the red fruit"
    assert choice["logprobs"] == {
        "tokens": ["the", "red", "fruit"],
        "token_logprobs": list(line.logprobs[:-1]),
        "top_logprobs": [{word: score} for word, score in zip(line.words[:-1], line.logprobs[:-1], strict=True)],
        "text_offset": [0, 3, 7],
    }


def test_nothing_precedes_the_eos_with_which_a_prompt_begins(server: Server) -> None:
    line = server.model.score(["the red"])[0]
    (choice,) = server.complete(prompt=[0, 3, 6], max_tokens=0, echo=True, logprobs=1)
    assert choice["logprobs"]["tokens"] == ["<eos>", "the", "red"]
    assert choice["logprobs"]["token_logprobs"] == [None, *line.logprobs[:-1]]
    assert choice["logprobs"]["top_logprobs"][0] is None


def test_an_unknown_word_is_scored_as_unk_but_not_continued(server: Server) -> None:
    (choice,) = server.complete(prompt="the zebra", max_tokens=0, echo=True, logprobs=0)
    assert choice["logprobs"]["token_logprobs"] == list(server.model.score(["the zebra"])[0].logprobs[:-1])

    refused = server.post("/v1/completions", prompt="the zebra")
    assert refused.status == 400
    assert refused.error["message"] == "the prompt has words that the model does not know: 'zebra'"
    assert refused.error["param"] == "prompt"


def test_every_likeliest_token_is_at_most_as_likely_as_the_first(server: Server) -> None:
    (choice,) = server.complete(prompt="the red fruit", max_tokens=4, echo=True, logprobs=14, temperature=0)
    logprobs = choice["logprobs"]
    for token, value, top in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
        assert top[token] == value
        assert len(top) == 14
    for token, top in list(zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True))[3:]:
        assert top[token] == max(value for name, value in top.items() if name != "<unk>")


def test_a_stop_text_ends_a_text_and_does_not_belong_to_it(server: Server) -> None:
    whole = server.complete(prompt="the", max_tokens=40, seed=3)[0]["text"]
    (choice,) = server.complete(prompt="the", max_tokens=40, seed=3, stop=["fruit", "never"])
    assert choice["finish_reason"] == "stop"
    assert choice["text"] == whole.partition("fruit")[0].rstrip(" ")


@pytest.mark.parametrize("ending", [{"until_eos": True}, {"stop": "<eos>"}, {"stop": ["<eos>"]}])
def test_a_text_ends_with_its_sentence_where_asked_to(server: Server, ending: dict[str, object]) -> None:
    whole = server.complete(prompt="the", max_tokens=40, seed=3)[0]["text"]
    answer = server.post("/v1/completions", prompt="the", max_tokens=40, seed=3, **ending).json
    (choice,) = answer["choices"]
    assert choice["text"] == whole.partition("\n")[0]
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len(choice["text"].split()) + 1


def test_options_that_are_not_openai_s_change_what_is_drawn(server: Server) -> None:
    greedy = server.complete(prompt="the", max_tokens=8, temperature=0)[0]["text"]
    assert server.complete(prompt="the", max_tokens=8, seed=1, top_k=1)[0]["text"] == greedy
    banned = server.complete(prompt="the", max_tokens=50, ban=["fruit", "<eos>"])[0]["text"]
    assert not {"fruit", "\n"} & set(banned.split(" "))
    assert "<unk>" in server.complete(prompt="the", max_tokens=500, allow_unk=True, temperature=3)[0]["text"]


FIELDS = [
    {"seed": 5},
    {"seed": 5, "logprobs": 2, "echo": True},
    {"seed": 5, "stop": ["a", "fruit is"], "logprobs": 0},
    {"seed": 5, "until_eos": True, "logprobs": 1},
    {"seed": 5, "prompt": ["the", "it is"], "n": 2, "temperature": 0.7},
    {"seed": 5, "echo": True, "max_tokens": 0},
]


@pytest.mark.parametrize("fields", FIELDS, ids=str)
def test_the_events_of_a_stream_join_to_the_answer_in_one_piece(server: Server, fields: dict[str, object]) -> None:
    fields = {"prompt": "the", "max_tokens": 30} | fields
    whole = server.post("/v1/completions", **fields).json
    *events, last = server.post("/v1/completions", **fields, stream=True, stream_options={"include_usage": True}).events

    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert all(event["usage"] is None for event in events)
    for choice in whole["choices"]:
        parts = [event["choices"][0] for event in events if event["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts] == [None] * (len(parts) - 1) + [choice["finish_reason"]]
        if choice["logprobs"] is not None:
            for name, values in choice["logprobs"].items():
                assert [value for part in parts for value in part["logprobs"][name]] == values


def test_a_stream_without_usage_has_none(server: Server) -> None:
    events = server.post("/v1/completions", prompt="the", max_tokens=3, stream=True).events
    assert all("usage" not in event for event in events)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"best_of": 3}, "best_of", "must equal n"),
        ({"suffix": "x"}, "suffix", "from left to right"),
        ({"presence_penalty": 0.5}, "presence_penalty", "use repetition_penalty"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "use repetition_penalty"),
        ({"logit_bias": {"3": 1}}, "logit_bias", "`ban` lists tokens"),
        ({"stream_options": {}}, "stream_options", "stream=true"),
        ({"strange": 1}, "strange", "no such field"),
        ({"max_tokens": 10**9 + 1}, "max_tokens", "at most 1,000,000,000"),
        ({"max_tokens": -1}, "max_tokens", "must be at least 0"),
        ({"max_tokens": "5"}, "max_tokens", "must be a whole number"),
        ({"n": 10**9}, "n", "texts, prompts times n: this server allows at most 128"),
        ({"logprobs": 21}, "logprobs", "at most 20"),
        ({"stop": ["x"] * 10_000}, "stop", "10,000 texts: this server allows at most 16"),
        ({"stop": "x" * 201}, "stop", "201 characters in one text"),
        ({"stop": ""}, None, "a stop text is empty"),
        ({"temperature": 1e-9}, None, "temperature 1e-09"),
        ({"top_p": 0}, "top_p", "must be more than 0"),
        ({"ban": ["zebra"]}, None, "'zebra' is not in the model's vocabulary"),
        ({"ban": ["<eos>"], "until_eos": True}, "ban", "no text can end with it"),
        ({"prompt": []}, "prompt", "must be a text"),
        ({"prompt": [[]], "n": 0}, "n", "must be at least 1"),
        ({"stop": 3}, "stop", "stop: must be a text or must be a list"),
        ({"ban": [1]}, "ban.0", "must be a text"),
        ({"prompt": [3, "the"]}, "prompt", "must be a text"),
        ({"prompt": [True]}, "prompt", "must be a text"),
        ({"prompt": [14]}, "prompt", "id 14 is not in the vocabulary; ids go from 0 to 13"),
        ({"prompt": [-1]}, "prompt", "id -1"),
        ({"prompt": [3] * 32_769}, "prompt", "32,769 tokens: this server allows at most 32,768"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_field_is_named(server: Server, fields: dict[str, object], param: str | None, words: str) -> None:
    answer = server.post("/v1/completions", **fields)
    assert answer.status == 400
    assert words in answer.error["message"]
    assert (answer.error["type"], answer.error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "me", "best_of": 1, "suffix": "", "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}},
        {"n": None, "stop": None, "max_tokens": None, "temperature": None, "top_p": None, "logprobs": None},
        {"stream": False, "stream_options": None, "echo": None, "stop": [], "top_p": 1, "typical": 1},
    ],
)
def test_fields_that_change_nothing_are_accepted(server: Server, fields: dict[str, object]) -> None:
    same = {"prompt": "the", "seed": 4, "max_tokens": 16}
    assert server.complete(**same | fields) == server.complete(**same)


def test_a_model_is_chosen_by_name() -> None:
    with running_server(ServerOptions(), names=("first", "second")) as server:
        unnamed = server.post("/v1/completions", prompt="the")
        assert unnamed.status == 400
        assert unnamed.error["message"].endswith("name one as `model`: first, second")
        assert server.post("/v1/completions", prompt="the", model="second").json["model"] == "second"
        unknown = server.post("/v1/completions", prompt="the", model="third")
        assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
        listed = server.get("/v1/models").json
        assert [card["id"] for card in listed["data"]] == ["first", "second"]
        assert server.get("/v1/models/second").json == listed["data"][1]
        assert server.get("/v1/models/third").status == 404


def test_a_request_that_takes_too_long_is_ended() -> None:
    with running_server(ServerOptions(tokens=10**9, seconds=0.3)) as server:
        answer = server.post("/v1/completions", prompt="the", max_tokens=10**9)
        assert (answer.status, answer.error["code"]) == (408, "timeout")
        *events, last = server.post("/v1/completions", prompt="the", max_tokens=10**9, stream=True).events
        assert events
        assert last["error"]["code"] == "timeout"
        server.wait_until_idle()


def test_answers_are_json_with_the_length_in_a_header(server: Server) -> None:
    answer = server.post("/v1/completions", prompt="the")
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    json.loads(answer.body)
