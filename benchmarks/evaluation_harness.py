"""lm-evaluation-harness over HTTP against `recurlm score`: the largest difference of a token's log-probability."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import recurlm
from benchmarks._measure import Spread
from benchmarks._report import Options, Result, Row, parse_options, print_circumstances, record, show
from benchmarks._server import ServerProcess, described, serving

MOST_DIFFERENCE = 1e-6
CHOICES = 4
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: {kind}
test_split: test
doc_to_text: "{{{{context}}}}"
doc_to_target: {target}
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: {metric}
"""
ROLLING = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: word_perplexity
"""
Document = dict[str, Any]


def measure(options: Options, harness: str) -> Result:
    """A task of multiple choices and one of whole lines, both of made sentences."""
    count = options.pick(200, 20, 2)
    with tempfile.TemporaryDirectory() as folder, serving(options) as server:
        model = recurlm.load(server.run)
        words = [token for token in model.codec.vocabulary.tokens if token.startswith("w")]
        documents = list(_documents(random.Random(1), words, count))
        write_tasks(Path(folder), documents)
        samples = list(_evaluated(Path(folder), server, harness))
    differences = [abs(sample - expected) / tokens for sample, expected, tokens in _pairs(model, samples)]
    rows = [
        Row("harness", "likelihoods compared", Spread.of([len(differences)]), "likelihoods"),
        Row("harness", "largest difference", Spread.of([max(differences)]), "nats/token", at_most=MOST_DIFFERENCE),
    ]
    return Result("evaluation harness", f"{described(options)}; lm_eval of {harness_version(harness)}", rows)


def harness_version(harness: str) -> str:
    """The version of the harness that an interpreter has. Raises RuntimeError where it has none."""
    program = "import importlib.metadata as m; print(m.version('lm_eval'))"
    done = subprocess.run([harness, "-c", program], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{harness} has no lm_eval; make an environment for it: pip install 'lm-eval[api]'")
    return done.stdout.strip()


def _documents(draw: random.Random, words: Sequence[str], count: int) -> Iterator[Document]:
    for _ in range(count):
        text = draw.choices(words, k=draw.randrange(2, 40))
        choices = [" ".join(draw.choices(words, k=draw.randrange(1, 6))) for _ in range(CHOICES)]
        yield {"context": " ".join(text), "choices": choices, "label": 0, "text": " ".join(text)}


def write_tasks(folder: Path, documents: Sequence[Document]) -> None:
    """A local task of each kind, since the harness's own tasks download their data."""
    data = folder / "documents.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in documents))
    choice = TASK.format(name="choices", data=data, kind="multiple_choice", target="label", metric="acc")
    (folder / "choices.yaml").write_text(choice)
    (folder / "lines.yaml").write_text(ROLLING.format(name="lines", data=data))


def _evaluated(folder: Path, server: ServerProcess, harness: str) -> Iterator[Document]:
    arguments = f"model=run,base_url={server.address}/v1/completions"
    command = [harness, "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", arguments]
    command += ["--tasks", "choices,lines", "--include_path", str(folder), "--log_samples"]
    done = subprocess.run([*command, "--output_path", str(folder / "out")], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    for path in sorted((folder / "out").rglob("samples_*.jsonl")):
        yield from map(json.loads, path.read_text().splitlines())


def _pairs(model: recurlm.Model, samples: Sequence[Document]) -> Iterator[tuple[float, float, int]]:
    """The harness's log-likelihood, that of `score`, and the number of tokens."""
    for sample in samples:
        document = sample["doc"]
        context = len(document["context"].split())
        if len(sample["resps"]) == 1:
            (line,) = model.score([document["text"]])
            yield float(sample["resps"][0][0]), sum(line.logprobs[:-1]), context
            continue
        for choice, response in zip(document["choices"], sample["resps"], strict=True):
            (line,) = model.score([f"{document['context']} {choice}"])
            values = line.logprobs[context:-1]
            yield float(response[0][0]), sum(values), len(values)


def main() -> None:
    """Print and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--harness-python", required=True, metavar="PYTHON", help="an interpreter that has lm_eval")
    options, out, arguments = parse_options(parser)
    print_circumstances(options)
    result = measure(options, arguments.harness_python)
    show(result)
    record("evaluation-harness", [result], options, out)
    sys.exit(0 if all(row.met is not False for row in result.rows) else 1)


if __name__ == "__main__":
    main()
