"""Exports models trained here and lets MXNet 1.9.1 score them: the largest difference of a log-probability.

Without RUN small models of every cell are trained first. MXNet is installed into an environment of its own,
which needs Python 3.11 or older, unless --python names one that has it.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._record import ROOT, write_record
from recurlm.interface.model import load
from recurlm.mxnet.exporting import export_model
from recurlm.progress import Silent
from recurlm.runs.folder import RunFolder
from recurlm.text.corpora import open_source
from recurlm.text.places import DataPlaces
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

PACKAGES = ("mxnet==1.9.1", "numpy==1.23.5")
PYTHONS = ("python3.11", "python3.10", "python3.9", "python3.8")
PROMISED = 1e-5
CORPUS = "python-docs"
SENTENCES = 300
LINE_FEED = "\n"
MODELS = {
    "lstm": ["model.hidden_sizes=[64, 48]"],
    "gru": ["model.cell=gru", "model.hidden_sizes=[64, 48]"],
    "tanh": ["model.cell=tanh", "model.hidden_sizes=[64, 48]"],
    "relu": ["model.cell=relu", "model.hidden_sizes=[64]"],
    "tied lstm": ["model.tied=true", "model.hidden_sizes=[96, 64]"],
    "residual gru without decoder bias": [
        "model.cell=gru",
        "model.hidden_sizes=[64, 64, 64]",
        "model.residual=true",
        "model.decoder_bias=false",
    ],
}
TRAINING = ["model.embedding_size=64", "model.tied=false", "training.epochs=1", "training.precision=fp32"]


def main() -> None:
    """Score, print the differences, keep a record; exits with 1 where a difference is above what is promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a run folder, instead of small models")
    parser.add_argument("--python", type=Path, help="a Python that has MXNet 1.9.1")
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv-mxnet", help="where MXNet is installed")
    parser.add_argument("--out", type=Path, help="folder of the record instead of records/YYYY-MM-DD-mxnet-parity")
    arguments = parser.parse_args()
    python = arguments.python or _environment(arguments.environment)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runs = {arguments.run.name: arguments.run} if arguments.run else _train(folder)
        models = {
            name: _compare(run, folder / f"{name.replace(' ', '-')}-exported", python) for name, run in runs.items()
        }
    largest = max(model["largest_difference"] for model in models.values())
    values = {"promised": PROMISED, "largest_difference": largest, "models": models}
    print(f"largest difference of a log-probability: {largest:.2e} nats (promised {PROMISED:g})")
    print(write_record("mxnet-parity", values, arguments.out))
    sys.exit(0 if largest < PROMISED else 1)


def _environment(folder: Path) -> Path:
    """The Python of an environment that has MXNet, made where it is not there yet."""
    python = folder / "bin" / "python"
    if not python.exists():
        base = sys.executable if sys.version_info < (3, 12) else next(filter(None, map(shutil.which, PYTHONS)), None)
        if base is None:
            raise SystemExit(f"MXNet 1.9.1 needs one of {', '.join(PYTHONS)}; name one that has MXNet with --python")
        subprocess.run([base, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def _train(folder: Path) -> dict[str, Path]:
    runs = {}
    for name, changes in MODELS.items():
        runs[name] = folder / name.replace(" ", "-")
        request = TrainingRequest(
            text=CORPUS,
            recipe="demo",
            changes=(*TRAINING, *changes),
            out=runs[name],
            places=DataPlaces(cache_directory=folder / "cache"),
        )
        prepare_training(request, Silent()).fit(StopRequest())
    return runs


def _compare(run: Path, prefix: Path, python: Path) -> dict[str, Any]:
    """Scores of sentences the model did not learn from, by both."""
    model = load(run)
    export_model(RunFolder(run), str(prefix))
    corpus = open_source(CORPUS, DataPlaces(offline=True)).split("test")
    lines = [line for line in corpus.lines() if line][:SENTENCES]
    scored = model.score(lines)
    here = [[token.logprob for token in line.tokens] for line in scored]
    done = subprocess.run(
        [python, Path(__file__).with_name("_mxnet_scores.py"), prefix],
        input=json.dumps([_words(model.codec.vocabulary.tokens, line.tokens) for line in scored]),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    differences = [
        abs(one - other)
        for mine, theirs in zip(here, answer["scores"], strict=True)
        for one, other in zip(mine, theirs, strict=True)
    ]
    print(f"{run.name:<36} {max(differences):.2e} nats over {len(differences):,} log-probabilities")
    return {
        "network": model.recipe.model.model_dump(mode="json"),
        "vocabulary": len(model.codec.vocabulary),
        "sentences": len(lines),
        "log_probabilities": len(differences),
        "total_here": sum(map(sum, here)),
        "total_mxnet": sum(map(sum, answer["scores"])),
        "largest_difference": max(differences),
        "versions": answer["versions"],
    }


def _words(tokens: tuple[str, ...], scored: Any) -> list[str]:
    """What the vocabulary makes of a line, from the line feed before it to its own."""
    return [LINE_FEED, *(tokens[token.id] if token.id else LINE_FEED for token in scored)]


if __name__ == "__main__":
    main()
