"""Raw prose, from a text of one's own to scores and samples: every command cuts words as training did."""

import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from recurlm.runs.folder import RunFolder

Command = Callable[..., object]

SPEAKERS = ["the queen", "Sir John", "Mary", "the old man"]
SAID = ["Where is the lord?", "No, lord!", "I saw the lord.", "It’s late, my lord;", "We don't know, lord,", "(Lord)"]
MANY_LINES = 300


def novel(lines: int, seed: int) -> str:
    chosen = random.Random(seed)
    return "".join(
        f'"{chosen.choice(SAID)}" said {chosen.choice(SPEAKERS)}, and the lord left.\n' + "\n" * (number % 5 == 4)
        for number in range(lines)
    )


@pytest.fixture(scope="module")
def novel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw") / "novel.txt"
    path.write_text(novel(MANY_LINES, 1), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(recurlm: Command, small_options: list[str], novel_file: Path) -> Path:
    out = novel_file.parent / "run"
    done = recurlm("train", novel_file, "--out", out, *small_options)
    assert done.returncode == 0, done.stderr
    (out.parent / "said.txt").write_text(done.stderr)
    return out


def test_train_says_what_it_does_about_raw_text(run, novel_file):
    said = (run.parent / "said.txt").read_text()
    words = novel_file.read_text().split()
    attached = sum(word.rstrip('"').endswith((",", ".", ";", "?", "!")) for word in words) / len(words)
    found = re.search(r"raw text \((\d+)% of its words end in punctuation", said)
    assert found is not None
    assert int(found[1]) == pytest.approx(100 * attached, abs=1)
    assert "): cut as prose, punctuation apart; --set text.cut=spaces cuts at spaces" in said
    hint = "; --set text.document=blank-line restarts the state after them"
    assert f"blank lines: 17% of the lines; each counts as one <eos>{hint}" in said


def test_the_lord_is_one_word(run):
    vocabulary = json.loads((run / "vocabulary.json").read_text())
    assert [token for token in vocabulary["tokens"] if "lord" in token] == ["lord"]
    assert {"It’s", "don't", '"', "?", ","} <= set(vocabulary["tokens"])
    assert (vocabulary["cut"], vocabulary["lowercase"], vocabulary["digits"]) == ("prose", False, "keep")
    assert json.loads((run / "config.json").read_text())["recipe"]["text"]["cut"] == "prose"


def test_later_commands_cut_alike_and_say_so(recurlm, run, novel_file):
    assert recurlm("eval", run, "--json").stdout.count("|cut=prose") == 1
    scored = json.loads(recurlm("score", run, "-", "--json", stdin='"No, lord!" said Mary.\n').stdout)
    assert [token["token"] for token in scored["tokens"]] == [
        '"',
        "No",
        ",",
        "lord",
        "!",
        '"',
        "said",
        "Mary",
        ".",
        "<eos>",
    ]
    assert not any(token["oov"] for token in scored["tokens"])
    assert "|cut=prose" in recurlm("score", run, novel_file).stderr
    listed = "u1 1 0 No, lord!\nu1 1 0 No lord\n"
    rescored = recurlm("rescore", run, "-", "--format", "mikolov", stdin=listed)
    assert rescored.returncode == 0, rescored.stderr
    arpa = run.parent / "novel.arpa"
    assert recurlm("ngram", novel_file, "--vocabulary", run, "--out", arpa, "--order", 2).returncode == 0
    compared = recurlm("compare", run, arpa, novel_file)
    assert compared.returncode == 0, compared.stderr
    assert "\tlord" in arpa.read_text()
    assert "lord," not in arpa.read_text()


def test_punctuation_counts_with_the_word_that_a_reader_sees(recurlm, run, tmp_path):
    items = tmp_path / "items.csv"
    items.write_text('item,sentence\n1,"No, my lord!"\n')
    done = recurlm("score", run, items, "--column", "sentence", "--json")
    assert done.returncode == 0, done.stderr
    words = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["word"] for each in words[:3]] == ["No,", "my", "lord!"]
    scored = json.loads(recurlm("score", run, "-", "--json", stdin="No, my lord!\n").stdout)["tokens"]
    assert words[0]["surprisal"] == pytest.approx(
        -(scored[0]["logprob"] + scored[1]["logprob"]) / math.log(2), abs=1e-4
    )


def test_generated_text_reads_as_prose_and_streams_as_it_is(recurlm, run):
    text = recurlm("generate", run, "--prompt", '"No, lord!" said', "--tokens", 40, "--seed", 1).stdout
    assert text.startswith('"No, lord!" said ')
    assert " ," not in text
    assert " ." not in text
    sample = json.loads(recurlm("generate", run, "--tokens", 60, "--seed", 2, "--json").stdout)
    assert recurlm("generate", run, "--tokens", 60, "--seed", 2).stdout == sample["text"] + "\n"


def test_a_carried_state_continues_where_the_text_was_cut(recurlm, run):
    def score(text: str, *options: object) -> list[float]:
        done = recurlm("score", run, "-", "--json", "--context", "carry", *options, stdin=text)
        assert done.returncode == 0, done.stderr
        return [token["logprob"] for line in done.stdout.splitlines() for token in json.loads(line)["tokens"]]

    first, second, state = "No, lord!\n", '"(Lord)" said Mary.\n', run.parent / "state"
    parts = score(first, "--state-out", state) + score(second, "--state-in", state)
    assert parts == pytest.approx(score(first + second), abs=1e-5)


def test_added_words_are_cut_alike(recurlm, run):
    words, grown = run.parent / "words.txt", run.parent / "grown"
    words.write_text("the baron, lord?\n")
    assert recurlm("vocabulary", run, "--extend", words, "--out", grown).returncode == 0
    codec = RunFolder(grown).codec()
    assert codec.vocabulary.tokens[-1] == "baron"
    assert codec == RunFolder(grown).codec()
    assert codec.tokenization == RunFolder(run).codec().tokenization


def test_a_run_is_resumed_and_continued_with_its_cut(recurlm, run, novel_file, small_options):
    again = recurlm("train", novel_file, "--out", run, "--resume", *small_options)
    assert again.returncode == 0, again.stderr
    further = run.parent / "further"
    done = recurlm("train", novel_file, "--from", run, "--out", further, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert json.loads((further / "config.json").read_text())["recipe"]["text"]["cut"] == "prose"
    for change, reason in (("text.cut=spaces", "leave text.cut out"), ("text.unit=character", "leave --unit out")):
        refused = recurlm("train", novel_file, "--from", run, "--out", run.parent / "refused", "--set", change)
        assert refused.returncode == 3
        assert reason in refused.stderr


def test_lower_case_and_masked_digits_are_recorded(recurlm, small_options, novel_file):
    out = novel_file.parent / "lower"
    options = ("--set", "text.cut=prose", "--set", "text.lowercase=true", "--set", "text.digits=mask", "--epochs", 1)
    done = recurlm("train", novel_file, "--out", out, *small_options, *options)
    assert done.returncode == 0, done.stderr
    assert "raw text" not in done.stderr
    tokens = json.loads(recurlm("score", out, "-", "--json", stdin="LORD 1859\n").stdout)["tokens"]
    assert [token["token"] for token in tokens] == ["lord", "0000", "<eos>"]
    assert "|cut=prose(lowercase,digits=mask)" in recurlm("eval", out).stdout


def test_a_text_without_spaces_gets_a_warning_and_an_option_for_it(recurlm, small_options, tmp_path):
    text = tmp_path / "molecules.txt"
    text.write_text("".join(f"CC(=O)Oc1{'C' * (n % 20)}N{'O' * (n // 20)}\n" for n in range(200)))
    options = [*small_options, "--epochs", 1]
    warned = recurlm("train", text, "--out", tmp_path / "words", *options)
    assert "use characters or byte pairs: --unit character or --unit bpe" in warned.stderr
    text.write_text("\n" * 60 + text.read_text())
    done = recurlm("train", text, "--out", tmp_path / "characters", "--unit", "character", *options)
    assert done.returncode == 0, done.stderr
    assert "% of the lines; each counts as one <eos>" in done.stderr
    assert "warning" not in done.stderr
    vocabulary = json.loads((tmp_path / "characters" / "vocabulary.json").read_text())
    assert vocabulary["unit"] == "character"
    assert max(map(len, set(vocabulary["tokens"]) - {"<eos>", "<unk>"})) == 1


def test_byte_pairs_have_a_usual_number_of_merges(recurlm, small_options, novel_file):
    out = novel_file.parent / "pieces"
    done = recurlm("train", novel_file, "--out", out, "--unit", "bpe", *small_options, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "config.json").read_text())["recipe"]["text"]["merges"] == 8000


def test_other_programs_are_told_how_words_were_cut(recurlm, run, tmp_path):
    exported = recurlm("export-mxnet", run, tmp_path / "model")
    assert exported.returncode == 0, exported.stderr
    assert "the vocabulary holds words of prose" in exported.stderr
    assert json.loads(recurlm("vocabulary", run, "--json").stdout)["cut"] == "prose"
    assert "cut    prose" in recurlm("vocabulary", run).stdout


def test_models_of_different_cuts_are_not_compared(recurlm, run, novel_file, small_options):
    other = novel_file.parent / "spaces"
    done = recurlm("train", novel_file, "--out", other, "--set", "text.cut=spaces", *small_options, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert '"cut"' not in (other / "vocabulary.json").read_text()
    refused = recurlm("compare", run, other, novel_file)
    assert refused.returncode == 3
    assert "cut text into different tokens" in refused.stderr
