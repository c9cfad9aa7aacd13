"""`import-mxnet` and `export-mxnet` as a user calls them, without MXNet."""

import importlib.util
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]

TINY = Path(__file__).parents[1] / "fixtures" / "mxnet"
ENDS = ("symbol.json", "0000.params", "vocabulary.json")
GRAPHS = Path(__file__).parents[1] / "mxnet" / "fixtures"


@pytest.fixture(scope="module")
def imported(recurlm: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded two-layer LSTM as a run folder."""
    run = tmp_path_factory.mktemp("imported") / "run"
    done = recurlm(
        "import-mxnet", TINY / "lstm_packed/model", "--epoch", 1, "--vocabulary", TINY / "tiny.train.txt", "--out", run
    )
    assert done.returncode == 0, done.stderr
    assert "lstm 12 + 12" in done.stdout
    assert "3,274, float32" in done.stdout
    return run


def test_mxnet_is_not_here() -> None:
    found = importlib.util.find_spec("mxnet")
    assert found is None or found.origin is None  # the folder tests/mxnet is no package with code


def test_every_command_takes_an_imported_run(recurlm: Command, imported: Path, tmp_path: Path) -> None:
    evaluated = recurlm("eval", imported, TINY / "tiny.valid.txt", "--protocol", "mxnet", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    # MXNet itself gave 34.65 for the same text less the rows that did not fill a batch
    assert json.loads(evaluated.stdout)["perplexity"] == pytest.approx(34.65, rel=0.04)
    scored = recurlm("score", imported, TINY / "tiny.test.txt", "--json")
    assert len(json.loads(scored.stdout.splitlines()[0])["tokens"]) == 6
    generated = recurlm("generate", imported, "--tokens", 5, "--seed", 1)
    assert generated.returncode == 0, generated.stderr
    graph = recurlm("graph", imported, "--json")
    assert json.loads(graph.stdout)["parameters"] == 3274
    picture = recurlm("graph", imported, "--out", tmp_path / "network.svg")
    assert picture.returncode == 0, picture.stderr


def test_further_training_starts_at_the_imported_perplexity(recurlm: Command, imported: Path, tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        shutil.copy(TINY / f"tiny.{name}.txt", tmp_path / f"{name}.txt")

    def trained(out: str, *changes: str) -> float:
        options = [part for change in ("batches.batch_size=8", *changes) for part in ("--set", change)]
        done = recurlm("train", tmp_path, "--from", imported, "--out", tmp_path / out, "--epochs", 1, *options)
        assert done.returncode == 0, done.stderr
        return perplexity(tmp_path / out)

    def perplexity(run: Path) -> float:
        done = recurlm("eval", run, tmp_path / "valid.txt", "--protocol", "mxnet", "--json")
        assert done.returncode == 0, done.stderr
        return float(json.loads(done.stdout)["perplexity"])

    start = perplexity(imported)
    assert trained("still", "optimizer.learning_rate=1e-12") == pytest.approx(start, rel=1e-6)
    assert trained("better", "optimizer.kind=adam", "optimizer.learning_rate=0.01") < 0.95 * start


def test_an_imported_run_has_nothing_to_resume(recurlm: Command, imported: Path) -> None:
    done = recurlm("train", TINY / "tiny.train.txt", "--resume", "--out", imported)
    assert done.returncode == 3
    assert "--from" in done.stderr
    done = recurlm("train", "--from", imported, "--out", imported.parent / "new")
    assert done.returncode == 3
    assert "name a text" in done.stderr


def test_export_and_import_give_the_same_scores(recurlm: Command, imported: Path, tmp_path: Path) -> None:
    done = recurlm("export-mxnet", imported, tmp_path / "model", "--json")
    assert done.returncode == 0, done.stderr
    exported = json.loads(done.stdout)
    assert {path.name for path in tmp_path.iterdir()} == {f"model-{end}" for end in ENDS}
    done = recurlm(
        *["import-mxnet", tmp_path / "model", "--epoch", 0, "--vocabulary", exported["vocabulary"]],
        *["--out", tmp_path / "back", "--json"],
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["parameters"] == exported["parameters"] == 3274
    scores = [recurlm("score", run, TINY / "tiny.test.txt", "--json").stdout for run in (imported, tmp_path / "back")]
    totals = [[json.loads(line)["logprob"] for line in text.splitlines()] for text in scores]
    assert all(math.isclose(*pair, abs_tol=1e-5) for pair in zip(*totals, strict=True))
    shown = recurlm("export-mxnet", imported, tmp_path / "other")
    assert shown.stdout.split() == [str(tmp_path / f"other-{end}") for end in ENDS]
    again = recurlm("export-mxnet", imported, tmp_path / "model")
    assert again.returncode == 3
    assert "is already there" in again.stderr


def refusal(recurlm: Command, prefix: Path, vocabulary: Path, out: Path, epoch: int = 1) -> tuple[int, str]:
    done = recurlm("import-mxnet", prefix, "--epoch", epoch, "--vocabulary", vocabulary, "--out", out)
    assert "Traceback" not in done.stderr
    assert not out.exists()
    return done.returncode, done.stderr


def test_what_cannot_be_imported_exits_3(recurlm: Command, tmp_path: Path) -> None:
    vocabulary, out = TINY / "lstm_packed/vocab.json", tmp_path / "run"
    code, said = refusal(recurlm, GRAPHS / "refused_bidirectional", vocabulary, out)
    assert (code, "'b_t0_h2h'" in said) == (3, True)
    code, said = refusal(recurlm, TINY / "lstm_packed/model", vocabulary, out, epoch=7)
    assert (code, "model-0007.params" in said) == (3, True)
    (tmp_path / "words.txt").write_text("letter\nstory\n")
    code, said = refusal(recurlm, TINY / "lstm_packed/model", tmp_path / "words.txt", out)
    assert (code, "the model has 38" in said) == (3, True)
    shutil.copy(TINY / "lstm_packed/model-symbol.json", tmp_path / "sparse-symbol.json")
    shutil.copy(GRAPHS / "row_sparse.params", tmp_path / "sparse-0001.params")
    code, said = refusal(recurlm, tmp_path / "sparse", vocabulary, out)
    assert (code, "row-sparse" in said) == (3, True)


@pytest.mark.parametrize("damage", ["truncated parameters", "pickle", "half a graph", "broken vocabulary"])
def test_damaged_files_exit_4(damage: str, recurlm: Command, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY / "lstm_packed", folder)
    params, symbol, vocabulary = (folder / name for name in ("model-0001.params", "model-symbol.json", "vocab.json"))
    match damage:
        case "truncated parameters":
            params.write_bytes(params.read_bytes()[:5000])
        case "pickle":
            params.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
        case "half a graph":
            symbol.write_text(symbol.read_text()[:3000])
        case "broken vocabulary":
            vocabulary.write_text('{"\\n": 0, ')
    code, said = refusal(recurlm, folder / "model", vocabulary, tmp_path / "run")
    assert code == 4, said


def test_a_mistaken_call_exits_2(recurlm: Command, tmp_path: Path) -> None:
    assert recurlm("import-mxnet", tmp_path / "model", "--out", tmp_path / "run").returncode == 2
    assert recurlm("export-mxnet", tmp_path / "no-run").returncode == 2


def test_a_cell_that_mxnet_lacks_exits_3(
    recurlm: Command, text_folder: Path, small_options: list[str], tmp_path: Path
) -> None:
    done = recurlm("train", text_folder, "--out", tmp_path / "run", *small_options, "--set", "model.cell=sigmoid")
    assert done.returncode == 0, done.stderr
    done = recurlm("export-mxnet", tmp_path / "run", tmp_path / "model")
    assert done.returncode == 3
    assert "'sigmoid'" in done.stderr
