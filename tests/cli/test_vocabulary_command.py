import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import recurlm as package

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "new.txt"
    path.write_text("the purple fruit\nplum\n")
    return path


@pytest.fixture(scope="module")
def grown(recurlm: Command, trained: Path, words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "grown"
    done = recurlm("vocabulary", trained, "--extend", words, "--out", out)
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    assert done.stderr.startswith("new    2: purple plum\nknown  2: the fruit\nnext   recurlm train TEXT --from ")
    return out


def tokens_of(run: Path) -> list[str]:
    tokens: list[str] = json.loads((run / "vocabulary.json").read_text())["tokens"]
    return tokens


def test_the_vocabulary_is_shown(recurlm: Command, trained: Path, grown: Path) -> None:
    tokens = tokens_of(trained)
    facts: dict[str, Any] = json.loads(recurlm("vocabulary", trained, "--json").stdout)
    assert (facts["unit"], facts["size"], facts["unknown"], facts["extended"]) == ("word", 14, True, None)
    assert (facts["first"], facts["last"]) == (tokens[:10], tokens[-10:])
    shown = recurlm("vocabulary", grown).stdout.splitlines()
    assert shown[0] == "size   16 words; <unk> for all others"
    assert shown[1] == "first  " + " ".join(tokens[:10])
    assert shown[2].endswith("purple plum")
    assert shown[3] == "added  2, after training, from new; init mean"


def test_a_grown_run_evaluates_scores_and_generates(recurlm: Command, trained: Path, grown: Path) -> None:
    assert tokens_of(grown) == [*tokens_of(trained), "purple", "plum"]
    assert json.loads(recurlm("eval", grown, "--json").stdout)["tokens"] == 125
    scored = json.loads(recurlm("score", grown, "--json", stdin="the purple fruit is a plum\n").stdout)
    assert not any(token["oov"] for token in scored["tokens"])
    assert recurlm("generate", grown, "--prompt", "the purple", "--tokens", "3").returncode == 0


def test_training_goes_on_from_a_grown_run(recurlm: Command, grown: Path, tmp_path: Path) -> None:
    text = tmp_path / "more"
    text.mkdir()
    for name, repeats in (("train", 150), ("valid", 3), ("test", 3)):
        (text / f"{name}.txt").write_text("the purple fruit is a plum\nthe red fruit is a cherry\n" * repeats)
    out = tmp_path / "further"
    done = recurlm("train", text, "--from", grown, "--out", out, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "read as <unk>" not in done.stderr
    assert tokens_of(out) == tokens_of(grown)
    sentence = ["the purple fruit is a plum"]
    before, after = (package.load(run).score(sentence)[0] for run in (grown, out))
    assert [token.id for token in after.tokens] == [token.id for token in before.tokens]
    assert after.logprob > before.logprob + 5
    assert json.loads((out / "config.json").read_text())["start"]["run"] == str(grown)


def test_a_grown_run_has_no_training_to_resume(recurlm: Command, text_folder: Path, grown: Path) -> None:
    done = recurlm("train", text_folder, "--out", grown, "--resume")
    assert done.returncode == 3
    assert "made by adding words" in done.stderr
    assert "--from" in done.stderr


def test_many_words_are_counted_and_json_holds_them_all(recurlm: Command, trained: Path, tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(30)]
    arguments = ["--extend", "-", "--out", tmp_path / "many", "--init", "unk", "--json"]
    done = recurlm("vocabulary", trained, *arguments, stdin=" ".join(words))
    assert done.stderr.startswith("new    30\nknown  0\n")
    result = json.loads(done.stdout)
    assert (result["added"], result["known"], result["size"]) == (words, [], 44)
    assert (result["init"], result["noise"]) == ("unk", 0.0)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--extend", "WORDS"], 2, "needs --out"),
        (["--out", "new"], 2, "belong to --extend"),
        (["--seed", "3"], 2, "belong to --extend"),
        (["--extend", "WORDS", "--out", "new", "--init", "unk", "--seed", "1"], 2, "have no noise"),
        (["--extend", "WORDS", "--out", "RUN"], 3, "already holds a run"),
        (["--extend", "absent.txt", "--out", "new"], 3, "no such file"),
    ],
)
def test_what_cannot_be_is_refused(
    recurlm: Command, trained: Path, words: Path, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    places = {"WORDS": str(words), "RUN": str(trained)}
    done = recurlm("vocabulary", trained, *[places.get(option, option) for option in options], cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert not (tmp_path / "new").exists()


def test_no_run_no_vocabulary(recurlm: Command, tmp_path: Path) -> None:
    done = recurlm("vocabulary", tmp_path)
    assert done.returncode == 3
    assert "not a run folder" in done.stderr
