"""What the commands do with altered, received and seen files; in this process, on a run of a few steps."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

from cli.in_process import run_command
from recurlm.runs.folder import RunFolder
from recurlm.tensor_files import tensor_bytes

FIXTURES = Path(__file__).parents[1] / "fixtures" / "0.1.0"
SENTENCES = ["the red fruit is a cherry", "the yellow fruit is a lemon", "the green fruit is a lime", "it is sweet"]
TINY = ["model.embedding_size=4", "model.hidden_sizes=[4]", "training.epochs=1", "text.minimum_count=1"]


@dataclass
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


def run_in(folder: Path, *arguments: object) -> Done:
    """Run a command that keeps its cache in a folder."""
    variables = {"RECURLM_CACHE_DIR": str(folder / "cache"), "RECURLM_OFFLINE": "1"}
    outcome = run_command(list(map(str, arguments)), folder=Path.cwd(), variables=variables)
    return Done(outcome.code, outcome.stdout.decode(), outcome.stderr.decode())


@pytest.fixture
def recurlm(tmp_path: Path) -> Command:
    return partial(run_in, tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text of one file, and a run that learned from it."""
    folder = tmp_path_factory.mktemp("made")
    lines = [f"{line} {number % 7}" for number in range(60) for line in SENTENCES]
    (folder / "my.txt").write_text("".join(f"{line}\n" for line in lines))
    changes = [part for change in TINY for part in ("--set", change)]
    done = run_in(folder, "train", folder / "my.txt", "--out", folder / "run", "-q", *changes)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run, whose text lies beside it."""
    shutil.copytree(made / "run", tmp_path / "run")
    shutil.copy(made / "my.txt", tmp_path)
    set_source(tmp_path / "run", tmp_path / "my.txt")
    return tmp_path / "run"


def set_source(run: Path, source: object) -> None:
    """Rewrite the source of a run and its entry in the manifest, as somebody who hands over a run may."""
    config = json.loads((run / "config.json").read_text())
    config["corpus"]["source"] = str(source)
    RunFolder(run).write({"config.json": json.dumps(config).encode()})


def reverse_lines(path: Path) -> None:
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


def test_the_record_of_the_texts(made):
    corpus = json.loads((made / "run" / "config.json").read_text())["corpus"]
    size = (made / "my.txt").stat().st_size
    assert corpus["whole"]["bytes"] == size == sum(each["bytes"] for each in corpus["splits"].values())
    [learned] = corpus["learned"]
    assert learned["digest"] == corpus["splits"]["train"]["digest"]
    assert (learned["whole"], learned["start"]) == (corpus["whole"]["digest"], 0)


def test_whatever_opens_the_runs_own_text_refuses_an_altered_one(recurlm, run, tmp_path):
    assert recurlm("ngram", tmp_path / "my.txt", "--vocabulary", run, "--out", tmp_path / "a.arpa").code == 0
    commands = [
        ["eval", run],
        ["adapt", run, "--method", "cache"],
        ["adapt", run, "--method", "cache", "--tune", "valid"],
        ["adapt", run, SENTENCES[0], "--method", "dynamic-rms"],
        ["eval", run, "--with", tmp_path / "a.arpa", "--weight", "auto"],
        ["train", "--out", run, "--resume"],
        ["train", "--from", run, "--out", tmp_path / "new"],
    ]
    reverse_lines(tmp_path / "my.txt")
    for command in commands:
        done = recurlm(*command)
        assert (done.code, done.out) == (4, ""), command
        assert "my.txt is no longer the text that" in done.err
        assert "name a text on the command line" in done.err


def test_a_text_on_the_command_line_is_measured_with_a_warning(recurlm, run, tmp_path):
    unaltered = recurlm("eval", run, tmp_path / "my.txt", "--split", "test")
    assert (unaltered.code, unaltered.err) == (0, "")
    assert "seen=" not in unaltered.out
    reverse_lines(tmp_path / "my.txt")
    for options in ([], ["--split", "test"]):
        done = recurlm("eval", run, tmp_path / "my.txt", *options)
        assert done.code == 0
        assert done.err.startswith(f"recurlm: warning: {tmp_path / 'my.txt'} is no longer the text that")
    assert "is no longer the text that" in recurlm("score", run, tmp_path / "my.txt", "--format", "lines").err
    assert "warning: " + str(tmp_path / "my.txt") in recurlm("compare", run, tmp_path / "my.txt").out


@pytest.mark.parametrize("options", [[], ["--split", "train"]])
def test_a_figure_on_text_that_the_model_learned_from_says_so(recurlm, run, tmp_path, options):
    shutil.move(tmp_path / "my.txt", tmp_path / "copy.txt")
    for command in (["eval", run], ["adapt", run, "--method", "temperature"]):
        done = recurlm(*command[:2], tmp_path / "copy.txt", *command[2:], *options)
        assert done.code == 0
        assert f"recurlm: warning: the model learned from {tmp_path / 'copy.txt'} or" in done.err
        assert "|seen=training\n" in done.out
    scored = recurlm("score", run, tmp_path / "copy.txt", "--format", "sentence")
    assert scored.err.endswith("|seen=training\n")
    done = recurlm("compare", run, tmp_path / "copy.txt", *options)
    assert re.search(r"run learned from \S*copy", done.out)
    assert re.search(r"\|model=(\S+?)\|.*\|seen=\1\n", done.out)


def test_what_a_run_started_from_counts_as_learned(recurlm, run, tmp_path):
    (tmp_path / "other.txt").write_text("".join(f"{line} 1\n" for line in SENTENCES * 40))
    assert recurlm("train", tmp_path / "other.txt", "--from", run, "--out", tmp_path / "new", "-q").code == 0
    seen = [
        recurlm("eval", tmp_path / "new", tmp_path / name, "--split", "train").out for name in ("my.txt", "other.txt")
    ]
    assert all("|seen=training" in each for each in seen)
    assert "seen=" not in recurlm("eval", tmp_path / "new", tmp_path / "my.txt", "--split", "test").out


@pytest.mark.parametrize("source", ["/etc/passwd", "/dev/zero", "/dev/stdin", "-", "pipe", "folder", "bomb.gz"])
def test_a_received_run_opens_nothing_but_the_text_that_it_recorded(recurlm, run, tmp_path, source, monkeypatch):
    import gzip

    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    for name in ("train", "test"):
        os.mkfifo(Path("folder", f"{name}.txt"))
    Path("bomb.gz").write_bytes(gzip.compress(bytes(1 << 22)))
    set_source(run, source if source.startswith("/") or source == "-" else tmp_path / source)
    for command in (["eval", run], ["adapt", run, "--method", "cache"], ["train", "--from", run, "--out", "new"]):
        done = recurlm(*command)
        assert done.code in (3, 4), done
        assert done.out == ""
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_ngram_learns_from_the_part_that_train_learns_from(recurlm, run, tmp_path):
    text, out = tmp_path / "my.txt", tmp_path / "a.arpa"
    done = recurlm("ngram", text, "--vocabulary", run, "--out", out, "--json")
    train = json.loads((run / "config.json").read_text())["corpus"]["splits"]["train"]["digest"]
    assert json.loads(done.out)["digest"] == f"sha256:{train}"
    assert train in out.read_text().splitlines()[0]
    mixed = recurlm("eval", run, "--with", out, "--weight", "auto")
    assert mixed.code == 0
    assert "warning" not in mixed.out + mixed.err
    assert "seen=" not in mixed.out


def test_a_mixture_that_measures_or_fits_what_it_was_made_from_says_so(recurlm, run, tmp_path):
    text, out = tmp_path / "my.txt", tmp_path / "a.arpa.gz"
    assert recurlm("ngram", text, "--vocabulary", run, "--out", out, "--whole").code == 0
    done = recurlm("eval", run, "--with", out, "--weight", "auto", "--json")
    mixture = json.loads(done.out)
    digest = mixture["models"][1]["signature"].split("model=")[1].split("|")[0]
    assert digest.startswith("arpa:")
    assert mixture["signature"].endswith(f"|seen={digest}")
    assert f"(seen by {digest})" in mixture["signature"]
    assert mixture["models"][1]["signature"].endswith(f"|seen={digest}")
    assert "seen" not in mixture["models"][0]["signature"]
    assert [each.split(": ")[0] for each in mixture["warnings"]][1] == "weights fitted on it are of no use"
    assert recurlm("compare", run, out, text, "--split", "test").out.count("learned from my/test") == 1


@pytest.mark.parametrize("options", [["--whole", "--split", "train"], ["--whole"]])
def test_whole_belongs_to_a_file_alone(recurlm, tmp_path, options):
    text = "python-docs" if options == ["--whole"] else tmp_path / "text.txt"
    done = recurlm("ngram", text, "--out", tmp_path / "a.arpa", *options)
    assert done.code == 2
    assert "--whole takes all of one file" in done.err


def test_a_flipped_bit_in_a_state_ends_with_4(recurlm, run, tmp_path):
    text, state = tmp_path / "line.txt", tmp_path / "state"
    text.write_text("the red fruit\n")
    assert recurlm("score", run, text, "--context", "carry", "--state-out", state).code == 0
    content = bytearray(state.read_bytes())
    content[-3] ^= 1
    state.write_bytes(content)
    done = recurlm("score", run, text, "--state-in", state)
    assert (done.code, done.out) == (4, "")
    assert "altered since it was written" in done.err


def test_a_picture_is_not_drawn_through_a_link(recurlm, run, tmp_path):
    (tmp_path / "mine.svg").write_text("mine")
    (run / "training.svg").unlink()
    (run / "training.svg").symlink_to(tmp_path / "mine.svg")
    assert recurlm("plot", run).code == 0
    assert (tmp_path / "mine.svg").read_text() == "mine"
    assert "<svg" in (run / "training.svg").read_text()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "metrics.jsonl"])
def test_no_output_replaces_a_file_of_a_run(recurlm, run, tmp_path, name):
    before = (run / name).read_bytes()
    (tmp_path / "line.txt").write_text("the red fruit\n")
    for command in (
        ["score", run, tmp_path / "line.txt", "--context", "carry", "--state-out", run / name],
        ["generate", run, "--tokens", 2, "--state-out", run / name],
        ["ngram", tmp_path / "my.txt", "--out", run / name],
    ):
        done = recurlm(*command)
        assert (done.code, done.out) == (2, "")
        assert "is a file of a run folder; name another" in done.err
    done = recurlm("generate", run, "--tokens", 2, "--state-out", run / "checkpoints" / "x")
    assert (done.code, done.out) == (2, "")
    assert "lies among the checkpoints of a run" in done.err
    assert (run / name).read_bytes() == before


def test_a_damaged_newest_checkpoint_does_not_stop_resume(recurlm, tmp_path):
    """The run of version 0.1.0, stopped after 14 steps, ends as it does without the damaged checkpoint."""
    results = []
    for name in ("undisturbed", "damaged"):
        run = tmp_path / name
        shutil.copytree(FIXTURES / "stopped", run)
        set_source(run, FIXTURES / "texts")
        if name == "damaged":
            newest = run / "checkpoints" / "step-00000020"
            shutil.copytree(run / "checkpoints" / "step-00000014", newest)
            (newest / "weights.safetensors").write_bytes(b"cut short")
        done = recurlm("train", "--out", run, "--resume", "--json")
        assert done.code == 0, done.err
        assert "going on after step 14" in done.err
        results.append(json.loads(done.out)["test_perplexity"])
        said = "step-00000020 is damaged; going on from the checkpoint before it, step-00000014" in done.err
        assert said == (name == "damaged")
    assert results[0] == results[1]


@pytest.mark.parametrize("name", ["weights", "optimizer", "state"])
def test_a_checkpoint_of_another_model_is_refused(recurlm, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(FIXTURES / "stopped", run)
    set_source(run, FIXTURES / "texts")
    folder = run / "checkpoints" / "step-00000014"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    strange = {"0.x": torch.ones(3), "layer.0.0": torch.ones(3)}
    RunFolder(run).checkpoints.save(15, files | {f"{name}.safetensors": tensor_bytes(strange)})
    done = recurlm("train", "--out", run, "--resume", "-q")
    assert done.code == 4
    assert "does not fit" in done.err or "another model's" in done.err


def test_without_a_whole_checkpoint_resume_says_how_to_begin_again(recurlm, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(FIXTURES / "stopped", run)
    set_source(run, FIXTURES / "texts")
    (run / "checkpoints" / "step-00000014" / "counters.json").write_text("{}")
    done = recurlm("train", "--out", run, "--resume", "-q")
    assert done.code == 4
    assert f"to begin again, remove {run / 'checkpoints'} and run the command with --resume" in done.err
    shutil.rmtree(run / "checkpoints")
    assert recurlm("train", "--out", run, "--resume", "-q").code == 0
