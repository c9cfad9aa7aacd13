"""The page's server over a real socket: access, runs, metrics as events, training."""

import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import recurlm as recurlm_package
from cli.in_process import Outcome, succeeding
from recurlm.studio import training
from recurlm.studio.app import new_token
from recurlm.studio.following import GrowingFile
from recurlm.studio.routes import page_files
from studio.page_server import TOKEN, RunningStudio, running_studio

RUN = Path(__file__).parent.parent / "fixtures" / "0.1.0" / "run"
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the recorded run, named fruit."""
    shutil.copytree(RUN, tmp_path / "runs" / "fruit")
    return tmp_path / "runs"


@pytest.fixture
def recurlm(tmp_path: Path) -> Callable[..., Outcome]:
    """Runs the command line in this process."""
    return succeeding(tmp_path)


@pytest.fixture
def studio(folder: Path) -> Iterator[RunningStudio]:
    with running_studio(folder) as studio:
        yield studio


def test_the_token_of_the_first_address_becomes_a_cookie(studio):
    answer = studio.get(studio.address.removeprefix(f"http://127.0.0.1:{studio.port}"), {})
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert b'content="0; url=/"' in answer.body
    assert TOKEN.encode() not in answer.body
    name, _, rest = answer.headers["set-cookie"].partition("; ")
    assert name == studio.cookie["cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} == set(rest.split("; "))
    assert studio.get("/", {"cookie": name}).status == 200


def test_no_path_but_health_opens_without_the_cookie(studio):
    paths = studio.get("/openapi.json").json["paths"]
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    routes += [("GET", path) for path in ("/", "/?token=wrong", "/page/app.js", "/openapi.json", "/unheard")]
    assert len(routes) > 18
    wrong = {"cookie": studio.cookie["cookie"] + "x"}
    for headers in ({}, wrong, {"cookie": 'broken="'}, {"authorization": "Bearer wrong"}):
        for method, path in routes:
            assert studio.send(method, path, None, headers).status == (200 if path == "/health" else 401), path


@pytest.mark.parametrize(
    "headers", [{"origin": "http://127.0.0.1:1"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "cross-site"}]
)
def test_a_page_of_another_origin_gets_nothing_for_the_cookie(studio, headers):
    assert studio.get("/runs", studio.cookie | headers).status == 401
    own = {"origin": f"http://127.0.0.1:{studio.port}", "sec-fetch-site": "same-origin"}
    assert studio.get("/runs", studio.cookie | own).status == 200


def test_every_answer_forbids_foreign_addresses(studio):
    for path, headers in (("/", None), ("/page/app.js", None), ("/runs", None), ("/runs", {}), ("/none", None)):
        told = studio.get(path, headers).headers
        assert told["content-security-policy"] == POLICY
        assert told["cross-origin-resource-policy"] == "same-origin"


def test_the_page_names_no_foreign_address():
    names = set(page_files())
    assert {"index.html", "app.js", "style.css", "words.js"} <= names
    for name, answer in page_files().items():
        text = answer.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, name
        assert "https:" not in text, name


def test_every_text_of_the_page_has_two_languages():
    scripts = {name: answer.body.decode() for name, answer in page_files().items() if name.endswith(".js")}
    known = dict(re.findall(r'(\w+): \["((?:[^"\\]|\\.)*)", "', scripts["words.js"]))
    used = {key for text in scripts.values() for key in re.findall(r'\bt\("(\w+)"\)', text)}
    assert len(used) > 50
    assert used <= set(known)


def test_the_scripts_of_the_page_have_lines_of_a_readable_length():
    scripts = {name: answer.body.decode() for name, answer in page_files().items() if name.endswith(".js")}
    long = [name for name, text in scripts.items() if max(map(len, text.splitlines())) > 120]
    assert set(long) <= {"app.js", "words.js"}
    assert max(text.count("\n") for text in scripts.values()) <= 400


def test_tokens_differ():
    assert new_token() != new_token()


def test_runs_are_those_of_the_command(studio, folder, recurlm):
    listed = studio.get("/runs").json
    told = json.loads(recurlm("runs", folder, "--json").stdout)
    assert listed == {"folder": str(folder), "runs": [told | {"has_model": True}], "problems": []}
    shown = studio.get("/runs/fruit").json
    assert shown == {"name": "fruit"} | json.loads(recurlm("show", folder / "fruit", "--json").stdout)


@pytest.mark.parametrize("name", ["none", "..", ".texts", "%2e%2e", "fruit%2F..", "-x", "a%00b"])
def test_only_runs_of_the_folder_are_reached(studio, name):
    assert studio.get(f"/runs/{name}").status == 404
    assert studio.post(f"/runs/{name}/open").status in (404, 405)


def test_a_folder_that_is_a_run_is_told(studio, folder):
    assert studio.get("/choices").json["is_run"] is False
    with running_studio(folder / "fruit") as inside:
        assert inside.get("/choices").json["is_run"] is True
        assert [run["name"] for run in inside.get("/runs").json["runs"]] == ["fruit"]


def test_a_folder_that_does_not_exist_has_no_runs(tmp_path):
    with running_studio(tmp_path / "later") as studio:
        assert studio.get("/runs").json["runs"] == []


def test_scores_and_texts_come_from_the_model_of_a_run(studio, folder, recurlm):
    assert studio.get("/v1/models").json["data"] == []
    opened = studio.post("/runs/fruit/open").json
    assert opened["vocabulary"][:1] == ["<eos>"]
    assert [each["id"] for each in studio.get("/v1/models").json["data"]] == ["fruit"]
    answer = studio.post("/score", {"model": "fruit", "lines": ["the red fruit"], "predictions": True, "likeliest": 3})
    told = json.loads(recurlm("score", folder / "fruit", "--json", stdin="the red fruit\n").stdout)
    assert answer.json["lines"][0]["logprob"] == told["logprob"]
    assert studio.post("/v1/completions", {"model": "fruit", "prompt": "the", "max_tokens": 3}).status == 200
    assert studio.post("/v1/completions", {"model": "none", "prompt": "the"}).status == 404


def test_the_next_token_is_told_before_and_after_the_options(studio, folder, recurlm):
    """Beside the model's own scores, and beside probabilities worked out by hand."""
    body = {"model": "fruit", "prompt": "the red", "temperature": 0.5, "top_k": 2, "likeliest": 5}
    told = studio.post("/distribution", body).json
    scored = json.loads(recurlm("score", folder / "fruit", "--json", stdin="the red fruit\n").stdout)
    fruit = next(each for each in told["tokens"] if each["token"] == "fruit")
    assert fruit["probability"] == pytest.approx(math.exp(scored["tokens"][2]["logprob"]), rel=1e-4)
    assert told["ids"] == [each["id"] for each in scored["tokens"][:2]]
    own = [each["probability"] for each in told["tokens"]]
    assert (len(own), own) == (5, sorted(own, reverse=True))
    assert told["drawable"] == 2
    squares = [share**2 for share in own[:2]]
    expected = [square / sum(squares) for square in squares] + [0, 0, 0]
    assert [each["drawn"] for each in told["tokens"]] == pytest.approx(expected, rel=1e-4)
    same = studio.post("/distribution", body | {"prompt": told["ids"]}).json
    assert same == told
    unknown = next(
        each
        for each in studio.post("/distribution", {"model": "fruit", "likeliest": 100}).json["tokens"]
        if each["token"] == "<unk>"
    )
    assert unknown["probability"] > 0 == unknown["drawn"]
    for wrong in ({"prompt": "spoon"}, {"prompt": [9999]}, {"temperature": -1}, {"top_p": 2}, {"model": "none"}):
        assert studio.post("/distribution", body | wrong).status in (400, 404), wrong


def events(answer) -> list[tuple[str, str, str]]:
    """Kind, id and data of each event."""
    found = []
    for part in answer.body.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in part.split("\n"))
        found.append((fields.get("event", "message"), fields["id"], fields["data"]))
    return found


def test_metrics_go_on_after_the_last_event(studio, folder):
    lines = (folder / "fruit" / "metrics.jsonl").read_text().splitlines()
    expected = [("message", str(number), line) for number, line in enumerate(lines, 1)]
    end = ("end", str(len(lines)), '{"state": "finished"}')
    assert events(studio.get("/runs/fruit/metrics")) == [*expected, end]
    resumed = studio.get("/runs/fruit/metrics", studio.cookie | {"last-event-id": "2"})
    assert events(resumed) == [*expected[2:], end]
    assert events(studio.get("/runs/fruit/metrics?after=2")) == [*expected[2:], end]
    beyond = studio.get("/runs/fruit/metrics", studio.cookie | {"last-event-id": "999"})
    assert events(beyond) == [("reset", "0", "{}"), *expected, end]


def test_a_growing_file_gives_whole_lines_and_notices_a_replacement(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = GrowingFile(path)
    assert file.new_lines() == []
    path.write_bytes(b"one\ntw")
    assert file.new_lines() == [b"one"]
    path.write_bytes(b"one\ntwo\nthree\n")
    assert file.new_lines() == [b"two", b"three"]
    assert (file.lines, file.is_replaced) == (3, False)
    (tmp_path / "new").write_bytes(b"one\n")
    (tmp_path / "new").replace(path)
    assert file.is_replaced
    file.restart()
    assert file.new_lines() == [b"one"]


TEXT = "\n".join(f"the {color} fruit is a {fruit}" for color, fruit in [("red", "cherry"), ("blue", "plum")] * 200)


def wait_for(studio: RunningStudio, condition) -> dict:
    deadline = time.monotonic() + 120
    while not condition(training := studio.get("/training").json):
        assert time.monotonic() < deadline, training
        time.sleep(0.1)
    return training


def test_training_starts_stops_and_goes_on(studio, folder):
    assert studio.get("/training").json["run"] is None
    begun = studio.post("/training", {"name": "mine", "text": TEXT, "time_limit": "10m"}).json
    text = folder / ".texts" / "mine.txt"
    assert begun["command"] == f"recurlm train {text} --out {folder / 'mine'} --time-limit 10m"
    assert text.read_text() == TEXT
    assert studio.post("/training", {"name": "other", "text": TEXT}).status == 409
    wait_for(studio, lambda training: any(line.startswith("epoch") for line in training["lines"]))
    assert next(run["state"] for run in studio.get("/runs").json["runs"] if run["name"] == "mine") == "running"
    studio.post("/training/stop")
    stopped = wait_for(studio, lambda training: not training["running"])
    assert stopped["exit_code"] == 75, stopped
    assert studio.post("/training", {"name": "mine", "text": TEXT}).status == 409
    resumed = studio.post("/training/resume", {"name": "mine"}).json
    assert resumed["command"] == f"recurlm train --out {folder / 'mine'} --resume"
    went_on = wait_for(studio, lambda training: any("going on after" in line for line in training["lines"]))
    assert went_on["running"]


def test_a_training_that_is_stopped_while_it_is_prepared_ends(studio, folder):
    studio.post("/training", {"name": "mine", "text": TEXT, "time_limit": "10m"})
    assert studio.get("/training").json["stop_asked"] is False
    assert studio.post("/training/stop").json["stop_asked"] is True
    stopped = wait_for(studio, lambda training: not training["running"])
    assert stopped["exit_code"] not in (0, 75)
    assert not (folder / "mine" / "checkpoints").exists()


DEAF = """
import signal, sys, time
heard = []
def hear(number, frame):
    heard.append(number)
    if len(heard) == {enough}:
        sys.exit({enough})
signal.signal(signal.SIGINT, hear)
print({line!r}, flush=True)
for _ in range({tenths}):
    time.sleep(0.1)
sys.exit(10 + len(heard))
"""


@pytest.mark.parametrize(
    ("line", "enough", "tenths", "code"), [("text   my text", 2, 600, 2), ("run    runs/mine: 3 epochs", 2, 20, 11)]
)
def test_a_signal_that_is_lost_is_repeated_until_training_begins(monkeypatch, line, enough, tenths, code):
    """A second one would end a training without its checkpoint."""
    monkeypatch.setattr(training, "REPEAT_SECONDS", 0.2)
    program = DEAF.format(line=line, enough=enough, tenths=tenths)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    begun = training.Training("mine", ("train",), process)
    while not begun.lines:
        time.sleep(0.01)
    begun.stop()
    begun.stop()
    assert process.wait(120) == code


def test_the_names_of_byte_pairs_are_what_they_stand_for(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the red fruit is a plüm .\n" * 40)
    options = {"text__unit": "bpe", "text__merges": 300, "model__embedding_size": 4, "model__hidden_sizes": [4]}
    recurlm_package.train(text, out=tmp_path / "runs" / "pairs", epochs=1, device="cpu", quiet=True, **options)
    with running_studio(tmp_path / "runs") as studio:
        opened = studio.post("/runs/pairs/open").json
        (run,) = studio.get("/runs").json["runs"]
    assert run["unit"] == "bpe"
    assert opened["unit"] == "bpe"
    assert opened["names"]["\u0120red"] == "␣red"
    assert set(opened["names"]) == set(opened["vocabulary"])
    assert opened["names"]["\u00c3"] == "<C3>"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../x"),
        ("name", ".x"),
        ("name", "-x"),
        ("name", ""),
        ("recipe", "/etc/passwd"),
        ("recipe", "none"),
        ("corpus", "/etc/passwd"),
        ("time_limit", "--help"),
        ("unit", "letters"),
        ("more", 1),
    ],
)
def test_a_training_takes_no_paths_and_no_options(studio, field, value):
    answer = studio.post("/training", {"name": "mine", field: value})
    assert answer.status == 400
    assert studio.get("/training").json["run"] is None


def test_a_wrong_or_taken_name_is_told_with_its_field(studio):
    for name, status in (("../x", 400), ("fruit", 409)):
        answer = studio.post("/training", {"name": name})
        assert (answer.status, answer.error["param"]) == (status, "name")


def test_a_wrong_time_limit_is_refused_in_plain_words(studio):
    answer = studio.post("/training", {"name": "mine", "time_limit": "soon"})
    assert (answer.status, answer.error["message"]) == (400, "time_limit: write it as 90s, 10m, 1.5h or 1h30m")


def test_ending_the_studio_stops_its_training_after_a_checkpoint(folder):
    with running_studio(folder) as studio:
        studio.post("/training", {"name": "mine", "text": TEXT, "time_limit": "10m"})
        wait_for(studio, lambda training: any(line.startswith("epoch") for line in training["lines"]))
    assert list((folder / "mine" / "checkpoints").glob("step-*"))
    assert TOKEN not in "".join(path.name for path in folder.rglob("*"))
