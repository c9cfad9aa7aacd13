import csv
import gzip
import io
import itertools
import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import made_lists
import recurlm as package

Command = Callable[..., subprocess.CompletedProcess[str]]
TEXT = "the red fruit is a cherry\n\nit is sweet\nthe purple fruit\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def test_every_format_says_the_same(recurlm: Command, trained: Path, text: Path) -> None:
    outputs = {}
    for name in ("jsonl", "tsv", "srilm", "sentence", "text"):
        done = recurlm("score", trained, text, "--format", name)
        assert done.returncode == 0, done.stderr
        outputs[name] = done.stdout
    lines = [json.loads(line) for line in outputs["jsonl"].splitlines()]
    totals = [line["logprob"] for line in lines]
    assert [line["text"] for line in lines] == TEXT.splitlines()
    assert [float(line) for line in outputs["sentence"].splitlines()] == pytest.approx(totals, rel=1e-8)
    assert [float(line.split("\t")[0]) for line in outputs["text"].splitlines()] == pytest.approx(totals, abs=1e-4)
    rows = list(csv.DictReader(io.StringIO(outputs["tsv"]), dialect="excel-tab"))
    by_token = [token["logprob"] for line in lines for token in line["tokens"]]
    assert [float(row["logprob"]) for row in rows] == pytest.approx(by_token, rel=1e-8)
    assert [row["token"] for row in rows] == [token["token"] for line in lines for token in line["tokens"]]
    srilm = [float(row.split()[-2]) for row in outputs["srilm"].splitlines() if row.startswith("\tp( ")]
    assert srilm == pytest.approx([logprob / math.log(10) for logprob in by_token], rel=1e-5)
    assert outputs["srilm"].splitlines()[-2].startswith(f"file {text}: 4 sentences, 12 words, 0 OOVs")


def test_the_signature_stands_at_the_end_of_stderr(recurlm: Command, trained: Path, text: Path) -> None:
    done = recurlm("score", trained, text, "--oov", "skip")
    perplexity, signature = done.stderr.splitlines()
    assert perplexity.endswith(" without oov")
    digest = package.load(trained).digest[:8]
    assert signature.startswith(
        "# score|tokens=15|eos=counted|state=zero|oov=skip:1|precision=fp32|model=sha256:" + digest
    )


def test_a_thousand_minimal_pairs_come_back_right_in_every_format(
    recurlm: Command, trained: Path, tmp_path: Path
) -> None:
    """Held to the model's own steps, token by token, on every twentieth line; to each other on all."""
    made_lists.write(tmp_path)
    lines = (tmp_path / "pairs.txt").read_text().splitlines()
    assert len(lines) == 1000
    totals = {}
    for name in ("text", "jsonl", "tsv", "srilm", "sentence", "kaldi"):
        sent = [f"pair-{number} {line}" for number, line in enumerate(lines)] if name == "kaldi" else lines
        done = recurlm("score", trained, "--after", "|||", "--format", name, stdin="".join(f"{x}\n" for x in sent))
        assert done.returncode == 0, done.stderr
        totals[name] = TOTALS[name](done.stdout)
    for name, found in totals.items():
        assert found == pytest.approx(totals["jsonl"], abs=1e-4 if name in ("text", "srilm") else 1e-6), name
    model = package.load(trained)
    ids = model.codec.vocabulary.ids
    for number in range(0, 1000, 20):
        given, ending = (part.split() for part in lines[number].split("|||"))
        state = model.network.initial_state(1)
        expected = 0.0
        with torch.no_grad():
            words = ["<eos>", *given, *ending, "<eos>"]
            for place, (word, target) in enumerate(itertools.pairwise(words)):
                logits, state = model.network.step(torch.tensor([ids[word]]), state)
                if place >= len(given):
                    expected += logits.double().log_softmax(-1)[0, ids[target]].item()
        assert totals["jsonl"][number] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def rows_of_srilm(output: str) -> list[float]:
    """The total of each sentence, to base e; the last block is the file's."""
    return [float(total) * math.log(10) for total in re.findall(r"logprob= (\S+)", output)[:-1]]


def rows_of_table(output: str) -> list[float]:
    totals: dict[int, float] = {}
    for row in csv.DictReader(io.StringIO(output), dialect="excel-tab"):
        totals[int(row["line"])] = totals.get(int(row["line"]), 0.0) + float(row["logprob"])
    return [totals[number] for number in sorted(totals)]


TOTALS: dict[str, Callable[[str], list[float]]] = {
    "text": lambda output: [float(line.split("\t")[0]) for line in output.splitlines()],
    "jsonl": lambda output: [json.loads(line)["logprob"] for line in output.splitlines()],
    "tsv": rows_of_table,
    "srilm": rows_of_srilm,
    "sentence": lambda output: list(map(float, output.split())),
    "kaldi": lambda output: [-float(line.split()[1]) for line in output.splitlines()],
}


def test_kaldi_lines_keep_their_utterances(recurlm: Command, trained: Path) -> None:
    done = recurlm("score", trained, "--format", "kaldi", stdin="utt-1 it is sweet\nutt-2 the red fruit\n")
    first, second = package.load(trained).score(["it is sweet", "the red fruit"])
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["utt-1", "utt-2"]
    assert [float(row[1]) for row in rows] == pytest.approx([-first.logprob, -second.logprob], rel=1e-6)


def test_what_follows_a_prompt_or_a_separator_counts(recurlm: Command, trained: Path) -> None:
    whole = package.load(trained).score(["the red fruit is a cherry"])[0].logprobs
    for options, line in [
        (["--after", "|||"], "the red fruit ||| is a cherry"),
        (["--prompt", "the red fruit"], "is a cherry"),
    ]:
        done = recurlm("score", trained, *options, "--json", stdin=line + "\n")
        tokens = json.loads(done.stdout)["tokens"]
        assert [token["token"] for token in tokens] == ["is", "a", "cherry", "<eos>"]
        assert [token["logprob"] for token in tokens] == pytest.approx(whole[3:], rel=1e-5)


def test_a_state_is_kept_and_gone_on_from(recurlm: Command, trained: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    carry = ["--context", "carry", "--format", "sentence"]
    whole = recurlm("score", trained, *carry, stdin="the red fruit\nit is sweet\n").stdout.split()
    first = recurlm("score", trained, *carry, "--state-out", state, stdin="the red fruit\n")
    second = recurlm("score", trained, *carry, "--state-in", state, stdin="it is sweet\n")
    found = [float(total) for total in first.stdout.split() + second.stdout.split()]
    assert found == pytest.approx(list(map(float, whole)), rel=1e-6)
    assert state.stat().st_size < 4096
    sample = ["generate", trained, "--tokens", "5", "--seed", "3"]
    after = recurlm(*sample, "--state-in", state, "--state-out", tmp_path / "next")
    prompted = recurlm(*sample, "--prompt", "the red fruit\n")
    assert after.stdout == prompted.stdout.removeprefix("the red fruit\n")
    assert package.State.load(tmp_path / "next").model == package.load(trained).digest


def test_a_compressed_file_is_scored_as_it_is(recurlm: Command, trained: Path, text: Path, tmp_path: Path) -> None:
    packed = tmp_path / "text.txt.gz"
    packed.write_bytes(gzip.compress(TEXT.encode()))
    plain, unpacked = (recurlm("score", trained, path, "--format", "sentence") for path in (text, packed))
    assert unpacked.stdout == plain.stdout
    assert unpacked.stdout.count("\n") == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "--format", "tsv"], "--json already means --format jsonl; drop --json or --format tsv"),
        (["--format", "srilm", "--log-base", "e"], "SRILM's layout uses base 10; leave --log-base out"),
        (["--state-out", "x"], "--state-out belongs to --context carry"),
        (["--oov", "floor:3"], "a natural log-probability is below 0"),
    ],
)
def test_options_that_cannot_be_are_refused(recurlm: Command, trained: Path, options: list[str], message: str) -> None:
    done = recurlm("score", trained, *options, stdin="it is\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_standard_input_that_is_not_utf8_is_named_by_its_line(recurlm: Command, trained: Path) -> None:
    done = recurlm("score", trained, "--json", stdin=b"it is\na \xff red\n")
    assert done.returncode == 3
    assert "standard input, line 2: not UTF-8 at byte 3 of the line" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_of_another_model_is_bad_input(recurlm: Command, trained: Path, tmp_path: Path) -> None:
    model = package.load(trained)
    package.State(model.network.initial_state(1), 0, "0" * 64).save(tmp_path / "state")
    for command in ("score", "generate"):
        done = recurlm(command, trained, "--state-in", tmp_path / "state", stdin="it is\n")
        assert done.returncode == 3
        assert "belongs to the model sha256:00000000" in done.stderr


def test_a_page_shows_every_line_with_its_bits_and_the_signature(recurlm: Command, trained: Path, text: Path) -> None:
    done = recurlm("score", trained, text, "--format", "html")
    assert done.returncode == 0, done.stderr
    page = done.stdout
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert not re.search(r"(?:src|href)=|url\(|<script", page)
    rows = [json.loads(line) for line in recurlm("score", trained, text, "--json").stdout.splitlines()]
    bits = [-token["logprob"] / math.log(2) for row in rows for token in row["tokens"]]
    shown = [float(figure) for figure in re.findall(r"<br><small>(-?[\d.]+)</small>", page)]
    assert shown == pytest.approx(bits, abs=0.051)
    signature = done.stderr.splitlines()[-1].removeprefix("# ")
    assert signature in page
    assert "rank" in page
    assert recurlm("score", trained, text, "--format", "html", "--log-base", "10").returncode == 2


def test_a_page_escapes_what_it_shows(recurlm: Command, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "<b>.txt"
    path.write_text("<script>alert(1)</script> the\n")
    page = recurlm("score", trained, path, "--format", "html").stdout
    assert "<script" not in page
    assert "&lt;b&gt;.txt" in page
