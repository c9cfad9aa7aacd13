"""Sessions over real sockets, and states that the client holds."""

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import recurlm
from recurlm.models.memory import State
from recurlm.rescoring.combination import Combination
from recurlm.rescoring.nbest import Hypothesis, NBestList
from recurlm.serving.options import ServerOptions
from recurlm.serving.sessions.store import Limits
from serving.http_server import RUN, SECONDS, Answer, Server, running_server

OPTIONS = ServerOptions(seconds=60, session_limits=Limits(kept=5, interval=4))
TEXT = "the red fruit is a cherry\nthe yellow fruit is a lemon\nthe"
LISTS = (
    ("the red fruit is a cherry", "the red fruit is a lemon", "a red fruit"),
    ("the yellow fruit is a lemon", "the yellow fruit a lemon"),
    ("the green fruit is a lime it is", "the green fruit is a lemon", "the green"),
)
ROUNDED = 0.05
"""The largest difference of log-probabilities after a state of bfloat16 products from those after one of float32."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server(OPTIONS) as server:
        yield server


def ok(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json


def create(server: Server, **fields: Any) -> Any:
    """A new session, as GET describes it."""
    made = ok(server.post("/sessions", **fields))
    assert made.pop("unknown") == []
    return made


def file_of(server: Server, session: str) -> bytes:
    answer = server.get(f"/sessions/{session}/state")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    return answer.body


def state_of(server: Server, session: str) -> State:
    return State.from_bytes(file_of(server, session), "it")


def ids_of(server: Server, text: str) -> list[int]:
    return ok(server.post("/tokenize", prompt=text))["tokens"]


def test_a_session_is_made_described_and_removed(server: Server) -> None:
    made = create(server, text=TEXT)
    assert made["model"] == "fruit"
    assert made["tokens"] == len(ids_of(server, TEXT)) == 15
    assert made["session"] != made["state"]
    assert abs(made["created"] - time.time()) < 600
    assert ok(server.get(f"/sessions/{made['session']}")) == made

    removed = server.send("DELETE", f"/sessions/{made['session']}")
    assert (removed.status, removed.body) == (204, b"")
    for answer in (
        server.get(f"/sessions/{made['session']}"),
        server.send("DELETE", f"/sessions/{made['session']}"),
        server.post(f"/sessions/{made['session']}/read", text="the"),
    ):
        assert answer.status == 404
        assert answer.error["code"] == "session_not_found"
        assert answer.error["message"].startswith(f"no session '{made['session']}'")


def test_reading_in_pieces_is_reading_at_once(server: Server) -> None:
    whole = create(server, text=TEXT)
    parts = create(server)
    for line in ("the red fruit is a cherry\n", "the yellow fruit", " is a lemon\nthe"):
        answer = ok(server.post(f"/sessions/{parts['session']}/read", text=line))
        assert answer["read"] == len(ids_of(server, line))
        assert answer["unknown"] == []
    assert answer["tokens"] == whole["tokens"]
    assert state_of(server, parts["session"]) == state_of(server, whole["session"])
    by_ids = create(server, ids=ids_of(server, TEXT))
    assert state_of(server, by_ids["session"]) == state_of(server, whole["session"])


def test_the_exported_state_is_near_the_one_that_the_library_reads(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(file_of(server, create(server, text=TEXT)["session"]))
    found, expected = State.load(path), server.model.read(TEXT)
    assert (found.last, found.model) == (expected.last, expected.model)
    for here, there in zip(found.layers, expected.layers, strict=True):
        for one, other in zip(here, there, strict=True):
            assert (one - other).abs().max() < ROUNDED


def test_unknown_words_are_told(server: Server) -> None:
    session = create(server)["session"]
    assert ok(server.post(f"/sessions/{session}/read", text="the purple fruit"))["unknown"] == ["purple"]
    assert ok(server.post("/sessions", text="blue\nor green"))["unknown"] == ["blue", "or"]


def test_a_file_comes_in_where_it_went_out(server: Server) -> None:
    content = file_of(server, create(server, text=TEXT)["session"])
    made = create(server, state_file=base64.b64encode(content).decode())
    assert made["tokens"] == 0
    other = create(server, text="a")
    put = server.send("PUT", f"/sessions/{other['session']}/state", content)
    assert ok(put)["tokens"] == 0
    assert put.json["state"] != other["state"]
    for session in (made["session"], other["session"]):
        assert state_of(server, session) == State.from_bytes(content, "it")
    longer = create(server, text=f"{TEXT} green fruit")
    ok(server.post(f"/sessions/{made['session']}/read", text="green fruit"))
    assert state_of(server, made["session"]) == state_of(server, longer["session"])


def test_a_damaged_file_and_one_of_another_model_are_refused(server: Server) -> None:
    session = create(server, text=TEXT)
    content = file_of(server, session["session"])
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    state = server.model.read("the")
    foreign = replace(state, model="0f" * 32).to_bytes()
    for given, said in (
        (flipped, "the file: altered since it was written"),
        (content[:-7], "the file: not a whole safetensors file"),
        (b"", "the file: not a whole safetensors file"),
        (foreign, "belongs to the model sha256:0f0f0f0f"),
    ):
        answer = server.send("PUT", f"/sessions/{session['session']}/state", given)
        assert answer.status == 400
        assert said in answer.error["message"]
        answer = server.post("/sessions", state_file=base64.b64encode(given).decode())
        assert answer.status == 400
        assert said in answer.error["message"]
    assert server.post("/sessions", state_file="?").error["message"] == "state_file: not base64"
    assert ok(server.get(f"/sessions/{session['session']}"))["state"] == session["state"]


def test_forks_go_on_apart(server: Server) -> None:
    parent = create(server, text=TEXT)
    forks = [create(server, parent=parent["session"]), ok(server.post(f"/sessions/{parent['session']}/fork"))]
    assert len({parent["session"], *(fork["session"] for fork in forks)}) == 3
    for fork, word in zip(forks, ("red", "green"), strict=True):
        assert fork["tokens"] == parent["tokens"]
        ok(server.post(f"/sessions/{fork['session']}/read", text=word))
        whole = create(server, text=f"{TEXT} {word}")
        assert state_of(server, fork["session"]) == state_of(server, whole["session"])
    assert ok(server.get(f"/sessions/{parent['session']}"))["state"] == parent["state"]
    refused = server.post("/sessions", parent=parent["session"], text="a")
    assert refused.status == 400
    assert refused.error["param"] == "parent"


@pytest.mark.parametrize("tokens", [0, 2, 9, 15])
def test_a_session_goes_back(server: Server, tokens: int) -> None:
    session = create(server, text=TEXT)["session"]
    assert ok(server.post(f"/sessions/{session}/rollback", tokens=tokens))["tokens"] == tokens
    expected = create(server, ids=ids_of(server, TEXT)[:tokens])
    assert state_of(server, session) == state_of(server, expected["session"])


@pytest.mark.parametrize("tokens", [-1, 16, 10**30])
def test_no_session_goes_back_to_a_token_that_it_lacks(server: Server, tokens: int) -> None:
    session = create(server, text=TEXT)["session"]
    refused = server.post(f"/sessions/{session}/rollback", tokens=tokens)
    assert refused.status == 400
    assert "the session has 15 tokens" in refused.error["message"]


def test_a_change_from_a_former_state_is_a_conflict(server: Server) -> None:
    made = create(server, text=TEXT)
    path = f"/sessions/{made['session']}"
    first = ok(server.post(f"{path}/read", text="red", state=made["state"]))
    for action, fields in (
        ("read", {"text": "green"}),
        ("generate", {}),
        ("score", {"text": "green"}),
        ("rescore", {"hypotheses": [{"text": "red"}]}),
        ("choose", {"text": "red"}),
        ("fork", {}),
        ("rollback", {"tokens": 0}),
    ):
        answer = server.post(f"{path}/{action}", state=made["state"], **fields)
        assert (answer.status, answer.error["code"]) == (409, "conflict"), action
    assert server.get(f"{path}/state?state={made['state']}").status == 409
    assert server.send("PUT", f"{path}/state?state={made['state']}", file_of(server, made["session"])).status == 409
    assert ok(server.get(path))["state"] == first["state"]


def test_a_generated_text_belongs_to_the_session(server: Server) -> None:
    session = create(server, text=TEXT)["session"]
    for fields in ({"max_tokens": 9, "seed": 3}, {"until_eos": True, "seed": 4}, {"stop": "fruit", "seed": 5}):
        before = ok(server.get(f"/sessions/{session}"))["tokens"]
        drawn = ok(server.post(f"/sessions/{session}/generate", logprobs=2, **fields))
        assert drawn["tokens"] == before + len(drawn["ids"])
        assert [each["id"] for each in drawn["logprobs"]] == drawn["ids"]
        for each in drawn["logprobs"]:
            assert len(each["likeliest"]) == 2
            assert each["logprob"] <= 0
        fresh = create(server)["session"]
        replay = [*ids_of(server, TEXT), *drawn["ids"]] if before == 15 else None
        if replay is not None:
            ok(server.post(f"/sessions/{fresh}/read", ids=replay))
            assert state_of(server, fresh) == state_of(server, session)
    assert drawn["finish_reason"] == "stop" or len(drawn["ids"]) == 16


def test_a_generated_text_is_that_of_the_same_prompt_in_a_completion(server: Server) -> None:
    session = create(server, text="the red fruit")["session"]
    drawn = ok(server.post(f"/sessions/{session}/generate", max_tokens=12, seed=7))
    completed = server.complete(prompt="the red fruit", max_tokens=12, seed=7)
    assert drawn["text"] == completed[0]["text"]
    assert drawn["logprobs"] is None


def test_the_states_of_a_generated_text_are_kept(server: Server) -> None:
    session = create(server, text="the")["session"]
    drawn = ok(server.post(f"/sessions/{session}/generate", max_tokens=30, seed=1))
    ids = [*ids_of(server, "the"), *drawn["ids"]]
    for tokens in (31, 30, 27, 20, 13, 1, 0):
        fork = ok(server.post(f"/sessions/{session}/fork"))["session"]
        ok(server.post(f"/sessions/{fork}/rollback", tokens=tokens))
        assert state_of(server, fork) == state_of(server, create(server, ids=ids[:tokens])["session"])


def test_a_stream_tells_the_text_and_then_where_the_session_stands(server: Server) -> None:
    parent = create(server, text=TEXT)["session"]
    fork = ok(server.post(f"/sessions/{parent}/fork"))["session"]
    whole = ok(server.post(f"/sessions/{parent}/generate", max_tokens=20, seed=2))
    *texts, last = server.post(f"/sessions/{fork}/generate", max_tokens=20, seed=2, stream=True).events
    assert "".join(each["text"] for each in texts) == last["text"] == whole["text"]
    assert last["tokens"] == whole["tokens"] == 35
    assert last == whole | {"session": fork, "state": last["state"]}
    assert ok(server.get(f"/sessions/{fork}"))["state"] == last["state"]
    assert state_of(server, fork) == state_of(server, parent)


def test_an_abandoned_generation_commits_nothing(server: Server) -> None:
    made = create(server, text=TEXT)
    for stream in (True, False):
        with contextlib.closing(server.connection()) as connection:
            body = json.dumps({"max_tokens": 4096, "stream": stream})
            connection.request(
                "POST", f"/sessions/{made['session']}/generate", body, {"content-type": "application/json"}
            )
            if stream:
                connection.getresponse().read(40)
            else:
                deadline = time.monotonic() + SECONDS
                while not any(server.served["fruit"].engine.load):
                    assert time.monotonic() < deadline
        server.wait_until_idle()
        assert ok(server.get(f"/sessions/{made['session']}")) == made


def test_a_stream_whose_session_changed_meanwhile_ends_with_a_conflict(server: Server) -> None:
    made = create(server, text=TEXT)
    path = f"/sessions/{made['session']}"
    with contextlib.closing(server.connection()) as connection:
        body = json.dumps({"max_tokens": 4096, "stream": True})
        connection.request("POST", f"{path}/generate", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read(40)
        changed = ok(server.post(f"{path}/read", text="red"))
        rest = answer.read().decode()
    assert '"code": "conflict"' in rest or '"code":"conflict"' in rest
    assert rest.endswith("data: [DONE]\n\n")
    assert ok(server.get(path))["state"] == changed["state"]


def test_scores_after_a_session_are_those_of_the_scorer_from_its_state(server: Server) -> None:
    made = create(server, text="the red fruit is a cherry\n")
    path = f"/sessions/{made['session']}"
    state = state_of(server, made["session"])
    line = "the green fruit is a lime"
    expected = next(server.model.scorer(state=state).lines([line]))

    scored = ok(server.post(f"{path}/score", text=f"{line}\n", likeliest=3))
    assert [each["logprob"] for each in scored["scores"]] == list(expected.logprobs)
    assert scored["logprob"] == pytest.approx(expected.logprob)
    assert [each["token"] for each in scored["scores"]] == [*line.split(), "<eos>"]
    assert all(len(each["likeliest"]) == 3 for each in scored["scores"])
    assert scored["state"] == made["state"]

    committed = ok(server.post(f"{path}/score", text=f"{line}\n", commit=True))
    assert committed["scores"] == [{key: each[key] for key in ("token", "id", "logprob")} for each in scored["scores"]]
    assert committed["tokens"] == made["tokens"] + 7
    whole = create(server, text=f"the red fruit is a cherry\n{line}\n")
    assert state_of(server, made["session"]) == state_of(server, whole["session"])


def carried(server: Server) -> list[list[float]]:
    """What `recurlm rescore --carry` gives for the lists."""
    lists = [
        NBestList(str(number), tuple(Hypothesis(str(number), rank, text) for rank, text in enumerate(texts, 1)))
        for number, texts in enumerate(LISTS)
    ]
    found = server.model.rescore(lists, Combination(weight=1), carry=True)
    return [[scored.logprob for scored in each.scored] for each in found]


@pytest.mark.parametrize("at_once", [False, True])
def test_lists_one_after_another_are_scored_as_with_carry(server: Server, at_once: bool) -> None:
    path, bests = f"/sessions/{create(server)['session']}", []
    for texts, expected in zip(LISTS, carried(server), strict=True):
        hypotheses = [{"text": text} for text in texts]
        answer = ok(server.post(f"{path}/rescore", hypotheses=hypotheses, choose_best=at_once))
        ranked = answer["hypotheses"]
        by_number = sorted(ranked, key=lambda each: each["number"])
        assert [each["logprob"] for each in by_number] == pytest.approx(expected, abs=ROUNDED)
        assert [each["total"] for each in ranked] == sorted((each["total"] for each in ranked), reverse=True)
        best = texts[max(range(len(texts)), key=expected.__getitem__)]
        assert ranked[0]["text"] == best
        assert answer["chosen"] == (best if at_once else None)
        if not at_once:
            ok(server.post(f"{path}/choose", text=best, state=answer["state"]))
        bests.append(best)
    whole = create(server, text="".join(f"{best}\n" for best in bests))
    assert state_of(server, path.rpartition("/")[2]) == state_of(server, whole["session"])


def test_hypotheses_after_half_a_sentence_go_on_from_its_last_word(server: Server) -> None:
    session = create(server, text="the red fruit is a")["session"]
    state = state_of(server, session)
    answer = ok(server.post(f"/sessions/{session}/rescore", hypotheses=[{"text": "cherry"}, {"text": "lemon"}]))
    for each in answer["hypotheses"]:
        expected = next(server.model.scorer(state=state).lines([each["text"]])).logprob
        assert each["logprob"] == pytest.approx(expected, abs=1e-4)
    assert answer["hypotheses"][0]["text"] == "cherry"


def test_a_list_whose_totals_overflow_is_refused_and_nothing_is_read(server: Server) -> None:
    made = create(server, text=TEXT)
    hypotheses = [{"text": "the", "acoustic": -1e308}]
    path = f"/sessions/{made['session']}"
    answer = server.post(f"{path}/rescore", hypotheses=hypotheses, acoustic_scale=10, choose_best=True)
    assert answer.status == 400
    assert "beyond the range of numbers" in answer.error["message"]
    assert ok(server.get(path)) == made


def test_a_client_that_holds_the_state_gets_what_a_session_gives(server: Server) -> None:
    session = create(server)["session"]
    state: str | None = None
    for action, fields in (
        ("read", {"text": TEXT}),
        ("generate", {"max_tokens": 8, "seed": 5, "logprobs": 1}),
        ("score", {"text": "the red fruit", "commit": True}),
        ("rescore", {"hypotheses": [{"text": text} for text in LISTS[0]], "choose_best": True}),
        ("choose", {"text": "the yellow fruit is a lemon"}),
        ("score", {"text": "the red fruit"}),
    ):
        held = ok(server.post(f"/stateless/{action}", state=state, **fields))
        kept = ok(server.post(f"/sessions/{session}/{action}", **fields))
        assert (held["session"], held["tokens"]) == (None, None)
        told = ("session", "state", "tokens")
        assert {key: value for key, value in held.items() if key not in told} == {
            key: value for key, value in kept.items() if key not in told
        }
        state = held["state"]
    before = state_of(server, session)
    assert ok(server.post("/stateless/read", state=state))["state"] == state
    found = ok(server.post("/stateless/generate", state=state, max_tokens=5, seed=1, stream=False))
    *_, last = server.post("/stateless/generate", state=state, max_tokens=5, seed=1, stream=True).events
    assert last == found
    assert state_of(server, session) == before


def test_a_state_that_a_client_altered_is_refused(server: Server) -> None:
    state = ok(server.post("/stateless/read", text="the"))["state"]
    altered = state[:50] + ("A" if state[50] != "A" else "B") + state[51:]
    answer = server.post("/stateless/read", state=altered, text="the")
    assert answer.status == 400
    assert answer.error["message"].startswith("state: altered")


def test_sessions_and_states_outlive_the_server(tmp_path: Path) -> None:
    options = replace(OPTIONS, sessions=tmp_path / "sessions.db")
    with running_server(options) as server:
        made = create(server, text=TEXT)
        content = file_of(server, made["session"])
        state = ok(server.post("/stateless/read", text="the"))["state"]
    with running_server(options) as server:
        assert ok(server.get(f"/sessions/{made['session']}")) == made
        assert state_of(server, made["session"]) == State.from_bytes(content, "it")
        assert ok(server.post("/stateless/read", state=state))["state"] == state


def test_servers_with_one_secret_take_each_other_s_states() -> None:
    states = []
    for secret in ("one", "one", "other"):
        with running_server(replace(OPTIONS, state_secret=secret)) as server:
            states.append(ok(server.post("/stateless/read", text="the"))["state"])
            if secret == "other":
                assert server.post("/stateless/read", state=states[0]).status == 400
    assert states[0] == states[1] != states[2]


def test_limits(tmp_path: Path) -> None:
    limits = replace(OPTIONS, session_limits=Limits(sessions=1), session_tokens=10, session_draws=5, prompt_tokens=8)
    with running_server(limits) as server:
        session = create(server, text="the red fruit")["session"]
        full = server.post("/sessions")
        assert (full.status, full.error["code"]) == (429, "too_many_sessions")
        for action, fields, said in (
            ("generate", {"max_tokens": 6}, "max_tokens: 6: this server allows at most 5"),
            ("read", {"text": "a " * 9}, "text: 9 tokens: this server allows at most 8"),
            ("read", {"text": "a " * 8}, "the session: 11 tokens: this server allows at most 10"),
            ("choose", {"text": "a " * 8}, "the session: 12 tokens: this server allows at most 10"),
            ("read", {"text": "a", "ids": [1]}, "text and ids are two forms of the same"),
            ("read", {"ids": [10**9]}, "ids: id 1000000000 is not in the vocabulary"),
            ("read", {"words": "a"}, "words: no such field"),
        ):
            refused = server.post(f"/sessions/{session}/{action}", **fields)
            assert refused.status == 400
            assert said in refused.error["message"]
        assert "recurlm_sessions 1.0" in server.get("/metrics").body.decode()


def test_a_foreign_session_is_refused(tmp_path: Path) -> None:
    options = replace(OPTIONS, sessions=tmp_path / "sessions.db")
    with running_server(options) as server:
        session = create(server, text="the")["session"]
    model = recurlm.load(RUN)
    other = f"{int(model.digest[0], 16) ^ 1:x}{model.digest[1:]}"
    from recurlm.serving.sessions.database import Database

    database = Database(tmp_path / "sessions.db")
    with database.writing():
        database.execute("UPDATE sessions SET model = ?", bytes.fromhex(other))
    database.close()
    with running_server(options) as server:
        answer = server.post(f"/sessions/{session}/read", text="red")
    assert answer.status == 400
    assert f"sha256:{other[:8]}, which this server does not serve" in answer.error["message"]


@pytest.mark.parametrize("path", ["read", "score"])
def test_an_empty_text_changes_nothing(server: Server, path: str) -> None:
    made = create(server, text=TEXT)
    more = {"commit": True} if path == "score" else {}
    for empty in ({"text": ""}, {"ids": []}, {}):
        told = ok(server.post(f"/sessions/{made['session']}/{path}", **empty, **more))
        assert (told["state"], told["tokens"]) == (made["state"], made["tokens"])
    assert ok(server.get(f"/sessions/{made['session']}"))["state"] == made["state"]


def test_a_text_of_no_tokens_changes_nothing(server: Server) -> None:
    made = create(server, text=TEXT)
    told = ok(server.post(f"/sessions/{made['session']}/generate", max_tokens=0))
    assert (told["state"], told["tokens"]) == (made["state"], made["tokens"])
