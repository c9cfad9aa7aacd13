import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import recurlm as package
from recurlm.errors import RecurlmError

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_eval_prints_the_object_of_the_contract(recurlm: Command, trained: Path) -> None:
    done = recurlm("eval", trained, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {
        "perplexity",
        "perplexity_without_oov",
        "bits_per_token",
        "bits_per_character",
        "tokens",
        "oov",
        "protocol",
        "signature",
    }
    assert result["tokens"] == 125
    assert 2 ** result["bits_per_token"] == pytest.approx(result["perplexity"])
    # five times 26 + 28 + 26 + 12 characters, line feeds included
    assert result["bits_per_character"] == pytest.approx(result["bits_per_token"] * 125 / 460)


def test_eval_counts_unknown_words_by_their_rule(recurlm: Command, trained: Path) -> None:
    text = "the purple fruit is a lime\n"
    by_rule = {
        rule: json.loads(recurlm("eval", trained, "-", "--oov", rule, "--json", stdin=text).stdout)
        for rule in ("unk", "skip", "floor:-11.5")
    }
    assert [result["tokens"] for result in by_rule.values()] == [7, 6, 7]
    assert "|oov=floor(-11.5):1|" in by_rule["floor:-11.5"]["signature"]
    known = math.log(by_rule["skip"]["perplexity"]) * 6
    assert math.log(by_rule["floor:-11.5"]["perplexity"]) * 7 == pytest.approx(known + 11.5)
    for result in by_rule.values():
        assert result["perplexity_without_oov"] == pytest.approx(by_rule["skip"]["perplexity"])
    assert "without oov" in recurlm("eval", trained, "-", stdin=text).stdout


@pytest.mark.parametrize(("protocol", "tokens"), [("stream", 125), ("sentence", 125), ("mxnet", 85)])
def test_protocols_count_what_they_say(recurlm: Command, trained: Path, protocol: str, tokens: int) -> None:
    done = recurlm("eval", trained, "--protocol", protocol, "--json")
    result = json.loads(done.stdout)
    assert result["tokens"] == tokens
    assert result["signature"].startswith(f"{protocol}|tokens={tokens}|")


def test_eval_of_a_file_and_of_a_split(recurlm: Command, trained: Path, text_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.txt"
    path.write_text("the red fruit is sweet\n")
    assert json.loads(recurlm("eval", trained, path, "--json").stdout)["tokens"] == 6
    assert json.loads(recurlm("eval", trained, "--split", "valid", "--json").stdout)["tokens"] == 100
    assert json.loads(recurlm("eval", trained, "-", "--json", stdin="it is\n").stdout)["tokens"] == 3


def test_score_gives_every_token_and_agrees_with_the_sentence_protocol(
    recurlm: Command, trained: Path, text_folder: Path
) -> None:
    done = recurlm("score", trained, text_folder / "test.txt", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["line"] for line in lines] == list(range(1, 21))
    assert [token["token"] for token in lines[3]["tokens"]] == ["it", "is", "sweet", "<eos>"]
    assert set(lines[0]["tokens"][0]) == {"token", "id", "logprob", "oov"}
    total = sum(line["logprob"] for line in lines)
    measured = json.loads(recurlm("eval", trained, "--protocol", "sentence", "--json").stdout)
    assert math.exp(-total / 125) == pytest.approx(measured["perplexity"], rel=1e-6)


def test_score_reads_standard_input_and_marks_unknown_words(recurlm: Command, trained: Path) -> None:
    done = recurlm("score", trained, "--json", stdin="the purple fruit\n")
    tokens = json.loads(done.stdout)["tokens"]
    assert [token["oov"] for token in tokens] == [False, True, False, False]
    assert tokens[1]["token"] == "purple"


def test_generate_repeats_with_its_seed_and_score_confirms_its_log_probability(recurlm: Command, trained: Path) -> None:
    arguments = ["generate", trained, "--prompt", "the red", "--tokens", "4", "--seed", "7", "--json"]
    sample = json.loads(recurlm(*arguments).stdout)
    assert set(sample) == {"prompt", "text", "tokens", "logprob", "seed", "end"}
    assert sample == json.loads(recurlm(*arguments).stdout)
    model = package.load(trained)
    ids = [model.codec.vocabulary.ids[token] for token in sample["tokens"]]
    sentence = model.codec.decode(ids).split("\n")[0].split()
    scored = model.score([" ".join(["the red", *sentence])])[0].tokens[2 : 2 + len(sentence)]
    if "<eos>" not in sample["tokens"]:
        assert sum(token.logprob for token in scored) == pytest.approx(sample["logprob"], abs=1e-5)


def test_generate_prints_the_text_as_it_comes(recurlm: Command, trained: Path) -> None:
    plain = recurlm("generate", trained, "--prompt", "the red", "--tokens", "12", "--temperature", "0")
    assert plain.returncode == 0
    whole = package.load(trained).generate("the red", tokens=12, temperature=0.0).whole
    assert plain.stdout == whole + "\n"
    assert plain.stdout.startswith("the red fruit is a ")


def samples(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_generate_ends_with_the_sentence_or_before_a_text(recurlm: Command, trained: Path) -> None:
    whole = samples(recurlm("generate", trained, "--count", "6", "--seed", "1", "--until-eos", "--json"))
    assert {sample["end"] for sample in whole} == {"eos"}
    assert all(sample["tokens"][-1] == "<eos>" and "\n" not in sample["text"] for sample in whole)
    model = package.load(trained)
    for sample, score in zip(whole, model.score(sample["text"] for sample in whole), strict=True):
        assert sample["logprob"] == pytest.approx(score.logprob, abs=1e-5)
    lines = recurlm("generate", trained, "--count", "6", "--seed", "1", "--until-eos").stdout.splitlines()
    assert lines == [sample["text"] for sample in whole]
    stopped = recurlm("generate", trained, "--prompt", "the red", "--temperature", "0", "--stop", "a", "--stop", "xyz")
    assert stopped.stdout == "the red fruit is\n"


def test_generate_draws_within_its_options(recurlm: Command, trained: Path) -> None:
    options = ["--ban", "fruit", "--repetition-penalty", "1.2", "--count", "20", "--json"]
    tokens = {token for sample in samples(recurlm("generate", trained, *options)) for token in sample["tokens"]}
    assert tokens > {"the", "<eos>"}
    assert not tokens & {"fruit", "<unk>"}
    for only in (["--min-p", "1"], ["--typical", "0.0001"]):
        first = samples(recurlm("generate", trained, "--prompt", "the red", *only, "--count", "9", "--json"))
        assert {sample["tokens"][0] for sample in first} == {"fruit"}


def test_generate_searches_the_likeliest_sentences(recurlm: Command, trained: Path) -> None:
    arguments = ["generate", trained, "--prompt", "the", "--beam", "4", "--count", "3", "--length-penalty", "0.5"]
    found = samples(recurlm(*arguments, "--json"))
    fruits = [f"the {a} fruit is a {b}" for a in ("red", "yellow", "green") for b in ("cherry", "lemon", "lime")]
    best = sorted(package.load(trained).score(fruits), key=lambda score: -score.logprob)[:3]
    assert [f"the {sample['text']}" for sample in found] == [score.text for score in best]
    assert all(set(sample) == {"prompt", "text", "tokens", "logprob", "seed", "end", "score"} for sample in found)
    assert [sample["seed"] for sample in found] == [None] * 3
    assert recurlm(*arguments).stdout.splitlines() == [f"the {sample['text']}" for sample in found]
    few = recurlm("generate", trained, "--beam", "500", "--count", "500", "--tokens", "1")
    assert few.returncode == 0
    assert "only" in few.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ban", "xyzzy"], "'xyzzy': not in the model's vocabulary"),
        (["--until-eos", "--ban", "<eos>"], "leave out one of the two"),
        (["--allow-unk", "--ban", "<unk>"], "contradict"),
        (["--stop", ""], "empty"),
        (["--min-p", "0"], "must be above 0"),
        (["--typical", "2"], "must be above 0"),
        (["--repetition-penalty", "0"], "must be above 0"),
        (["--beam", "3", "--temperature", "0.5"], "leave the other options out"),
        (["--beam", "3", "--seed", "1"], "leave the other options out"),
        (["--beam", "3", "--stop", "a"], "leave the other options out"),
        (["--beam", "3", "--count", "4"], "widen the beam"),
        (["--length-penalty", "1"], "belongs to --beam"),
    ],
)
def test_what_cannot_be_generated_is_refused_with_a_way_out(
    recurlm: Command, trained: Path, options: list[str], said: str
) -> None:
    done = recurlm("generate", trained, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_prompt_with_unknown_words_is_refused(recurlm: Command, trained: Path) -> None:
    done = recurlm("generate", trained, "--prompt", "the purple xyzzy")
    assert done.returncode == 3
    assert "'purple', 'xyzzy'" in done.stderr


def test_python_gives_the_same_numbers(recurlm: Command, trained: Path, text_folder: Path) -> None:
    model = package.load(trained)
    measured = json.loads(recurlm("eval", trained, "--json").stdout)
    assert model.perplexity(text_folder / "test.txt").value == pytest.approx(measured["perplexity"], rel=1e-6)
    assert str(model.generate("the red", tokens=3, temperature=0.0)) == "the red fruit is a"
    assert len(model.generate_many("the", count=3, tokens=5, seed=1)) == 3


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_run_is_refused_by_name(
    recurlm: Command, trained: Path, tmp_path: Path, name: str, damage: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    path = run / name
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    else:
        path.unlink()
    with pytest.raises(RecurlmError) as caught:
        package.load(run)
    # a digest that is altered in the manifest is found out at the file it belongs to
    assert name in str(caught.value) or (name, damage) == ("manifest.json", "flip")
    assert caught.value.exit_code == (3 if (name, damage) == ("config.json", "remove") else 4)


def test_not_a_run_and_wrong_options(recurlm: Command, tmp_path: Path, trained: Path) -> None:
    done = recurlm("eval", tmp_path)
    assert done.returncode == 3
    assert "not a run folder" in done.stderr
    assert recurlm("eval", trained, "--protocol", "words").returncode == 2
    assert recurlm("eval", trained, "--full-batches", "5").returncode == 2
    assert recurlm("generate", trained, "--top-p", "2").returncode == 2
    assert recurlm("no-such-command").returncode == 2
