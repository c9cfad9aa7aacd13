import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import made_lists
import recurlm as package

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    made_lists.write(folder)
    return folder


def inputs(made: Path) -> dict[str, list[str]]:
    """The same list by every way in."""
    costs = ["--acoustic-costs", "mikolov.ac", "--language-costs", "mikolov.lm"]
    return {
        "kaldi": [str(made / "kaldi")],
        "mikolov": [str(made / "mikolov.txt"), *(str(made / c) if c[0] != "-" else c for c in costs)],
        "jsonl": [str(made / "list.jsonl")],
        "htk": [str(made / "lattices")],
        "htk files": [str(path) for path in sorted((made / "lattices").iterdir())],
    }


@pytest.fixture(scope="module")
def expected(trained: Path) -> dict[str, list[tuple[float, float, int, str]]]:
    """Total, ln p, number and text of each hypothesis, best first: from `score` and the formula by hand."""
    model = package.load(trained)
    lists, _ = made_lists.nbest()
    found = {}
    for name, members in lists.items():
        rows = []
        for number, (each, score) in enumerate(
            zip(members, model.score([each.text for each in members]), strict=True), 1
        ):
            language = 0.4 * score.logprob - 0.6 * each.language
            total = -0.5 * each.acoustic + 3 * language + 0.7 * len(each.text.split())
            rows.append((total, score.logprob, number, each.text))
        found[name] = sorted(rows, reverse=True)
    return found


OPTIONS = ["--weight", 0.4, "--acoustic-scale", 0.5, "--lm-scale", 3, "--length-bonus", 0.7]


@pytest.mark.parametrize("form", ["kaldi", "mikolov", "jsonl", "htk", "htk files"])
def test_every_way_in_and_out(recurlm: Command, trained: Path, made: Path, expected, form: str) -> None:
    def out(kind: str) -> list[str]:
        # a lattice's hypotheses are numbered by its own scales, which the options would change
        done = recurlm("rescore", trained, *inputs(made)[form], *OPTIONS, "--output-format", kind)
        assert done.returncode == 0, done.stderr
        assert "20 lists, 240 hypotheses" in done.stderr
        return done.stdout.splitlines()

    best = [f"{name} {rows[0][3]}".strip() for name, rows in expected.items()]
    assert out("best") == best
    header, *table = (line.split("\t") for line in out("nbest"))
    assert header == ["utterance", "rank", "number", "total", "logprob", "acoustic", "language", "graph", "oov", "text"]
    flat = [(name, rank, row) for name, rows in expected.items() for rank, row in enumerate(rows, 1)]
    assert [(row[0], int(row[1]), row[9]) for row in table] == [(name, rank, row[3]) for name, rank, row in flat]
    assert [float(row[3]) for row in table] == pytest.approx([row[0] for _, _, row in flat], abs=1e-4)
    objects = list(map(json.loads, out("jsonl")))
    assert [(o["utterance"], o["text"]) for o in objects] == [(name, row[3]) for name, _, row in flat]
    assert [o["logprob"] for o in objects] == pytest.approx([row[1] for _, _, row in flat], abs=1e-4)
    scores = dict(line.split() for line in out("scores"))
    by_text = {(name, row[3]): row[1] for name, _, row in flat}
    keys = {f"{o['utterance']}-{o['number']}": by_text[o["utterance"], o["text"]] for o in objects}
    assert {key: -float(cost) for key, cost in scores.items()} == pytest.approx(keys, abs=1e-4)
    if not form.startswith("htk"):
        assert {row[2] for rows in expected.values() for row in rows} == {int(key.rsplit("-", 1)[1]) for key in scores}


def test_lists_that_were_written_can_be_read_again(recurlm: Command, trained: Path, made: Path, tmp_path: Path) -> None:
    written = tmp_path / "out.jsonl"
    done = recurlm("rescore", trained, made / "kaldi", *OPTIONS, "--output-format", "jsonl", "--out", written)
    assert (done.returncode, done.stdout) == (0, "")
    again = recurlm("rescore", trained, written, *OPTIONS)
    assert again.stdout == recurlm("rescore", trained, made / "kaldi", *OPTIONS).stdout != ""


def test_a_thousand_lines_of_pairs(recurlm: Command, trained: Path, made: Path) -> None:
    """The likelier sentence of each pair is first, by the scores of the lines alone."""
    lines = [line.replace(" ||| ", " ") for line in (made / "pairs.txt").read_text().splitlines()]
    scores = [score.logprob for score in package.load(trained).score(lines)]
    pairs = list(zip(lines[::2], lines[1::2], scores[::2], scores[1::2], strict=True))
    done = recurlm("rescore", trained, made / "pairs.nbest")
    chosen = [line.split(" ", 1)[1] for line in done.stdout.splitlines()]
    assert len(chosen) == 500
    assert chosen == [one if first >= second else other for one, other, first, second in pairs]
    assert "--weight 1 " in done.stderr


def test_word_errors_and_tuning(recurlm: Command, trained: Path, made: Path, expected) -> None:
    _, said = made_lists.nbest()
    references = ["--references", made / "references.txt"]
    done = recurlm("rescore", trained, made / "kaldi", *OPTIONS, *references, "--json")
    result = json.loads(done.stdout)
    assert result["word_errors"]["oracle"]["errors"] == 0
    assert result["word_errors"]["new"]["words"] == sum(len(text.split()) for text in said.values())
    wrong = sum(rows[0][3] != said[name] for name, rows in expected.items())
    assert result["word_errors"]["new"]["errors"] >= wrong
    assert (result["weight"], result["lm_scale"], result["lists"], result["state"]) == (0.4, 3.0, 20, "zero")

    tuned = recurlm("rescore", trained, made / "kaldi", *references, "--tune")
    assert tuned.returncode == 0, tuned.stderr
    assert "tuned on these references" in tuned.stderr
    options = tuned.stdout.split()
    assert options[::2] == ["--weight", "--acoustic-scale", "--lm-scale", "--length-bonus"]
    tuned_json = json.loads(recurlm("rescore", trained, made / "kaldi", *references, "--tune", "--json").stdout)
    used = json.loads(recurlm("rescore", trained, made / "kaldi", *references, *options, "--json").stdout)
    assert tuned_json["tuned"]["options"].split() == options
    assert used["word_errors"] == tuned_json["word_errors"]
    assert (
        used["word_errors"]["new"]["errors"] == tuned_json["tuned"]["errors"] <= result["word_errors"]["new"]["errors"]
    )


def other_case(source: Path, copy: Path) -> Path:
    """The lines with all words behind the id in upper case."""
    lines = (line.partition(" ") for line in source.read_text("utf-8").splitlines())
    copy.write_text("".join(f"{name} {words.upper()}\n" for name, _, words in lines), "utf-8")
    return copy


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("warning: ") for line in done.stderr.splitlines() if line.startswith("warning: ")]


def test_a_first_try_is_told_what_is_wrong_once_and_before_the_figures(
    recurlm: Command, trained: Path, made: Path, tmp_path: Path
) -> None:
    guesses = "--weight 0.5, --lm-scale 1 and --length-bonus 0 are guesses"
    plain = recurlm("rescore", trained, made / "kaldi", "--references", made / "references.txt")
    assert warnings_of(plain) == [guesses]
    assert plain.stderr.startswith("warning: ")
    assert warnings_of(recurlm("rescore", trained, made / "kaldi", *OPTIONS)) == []

    shouted = other_case(made / "references.txt", tmp_path / "REFERENCES.txt")
    done = recurlm("rescore", trained, made / "kaldi", "--references", shouted)
    about_case, *others = warnings_of(done)
    assert "word errors are differences of case alone, such as" in about_case
    rate = next(line for line in plain.stderr.splitlines() if line.startswith("# word error rate")).split()[4]
    assert f"without them the word error rate is {rate} %" in about_case
    assert "write the references in lower case" in done.stderr
    assert others == [guesses]
    assert done.stdout == plain.stdout


def test_lists_in_another_case_than_the_model_are_told(
    recurlm: Command, trained: Path, made: Path, tmp_path: Path
) -> None:
    shouted = other_case(made / "mikolov.txt", tmp_path / "lists.txt")
    words = sum(len(each.text.split()) for members in made_lists.nbest()[0].values() for each in members)
    done = recurlm("rescore", trained, shouted, "--references", made / "references.txt", "--json")
    found = json.loads(done.stdout)["warnings"]
    assert found[0].startswith(
        f"{words:,} of {words:,} words of the hypotheses (100.0%) are unknown only by their case"
    )
    assert [each.splitlines()[0] for each in found] == warnings_of(done)
    assert "write the hypotheses in lower case" in found[0]


def test_tuning_that_ends_at_the_edge_is_told(recurlm: Command, trained: Path, made: Path) -> None:
    references = ["--references", made / "references.txt"]
    done = recurlm("rescore", trained, made / "kaldi", *references, "--tune", "--json")
    result = json.loads(done.stdout)
    options = result["tuned"]["options"].split()
    edges = {f"--{edge['name'].replace('_', '-')}": edge["value"] for edge in result["tuned"]["edges"]}
    assert edges, "these lists tune to an edge"
    assert edges.items() <= dict(zip(options[::2], map(float, options[1::2]), strict=True)).items()
    warned = " ".join(result["warnings"])
    assert all(f"{name} {value:g}" in warned for name, value in edges.items())
    assert "guess" not in warned
    # the options that were printed, given back, are the middle of the next grid
    again = json.loads(recurlm("rescore", trained, made / "kaldi", *references, *options, "--tune", "--json").stdout)
    assert not {edge["name"] for edge in again["tuned"]["edges"]} & {"lm_scale", "length_bonus"}


def test_carry_is_not_the_same(recurlm: Command, trained: Path, made: Path) -> None:
    alone, carried = (
        [
            float(line.split()[1])
            for line in recurlm(
                "rescore", trained, made / "kaldi", "--output-format", "scores", *more
            ).stdout.splitlines()
        ]
        for more in ([], ["--carry"])
    )
    # the first list has no history
    assert alone[:12] == pytest.approx(carried[:12], abs=1e-4)
    assert not any(one == pytest.approx(other, abs=1e-4) for one, other in zip(alone[12:], carried[12:], strict=True))


def test_unknown_words(recurlm: Command, trained: Path) -> None:
    scores = {}
    for rule in ("unk", "skip", "floor:-11.51"):
        done = recurlm("rescore", trained, "-", "--format", "mikolov", "--output-format", "scores", "--oov", rule,
                       stdin="u the zebra is sweet\n")  # fmt: skip
        scores[rule] = float(done.stdout.split()[1])
    tokens = package.load(trained).score(["the zebra is sweet"])[0].tokens
    assert scores["unk"] == pytest.approx(-sum(token.logprob for token in tokens), abs=1e-4)
    assert scores["skip"] == pytest.approx(scores["unk"] + tokens[1].logprob, abs=1e-4)
    assert scores["floor:-11.51"] == pytest.approx(scores["skip"] + 11.51, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["KALDI", "--tune"], 2, "--tune needs --references"),
        (["KALDI", "--weight", "2"], 2, "must be from 0"),
        (["KALDI", "--oov", "drop"], 2, "write unk, skip, floor"),
        (["PAIRS", "--weight", "0.5"], 2, "no costs of an old language model"),
        (["-"], 2, "--format kaldi, mikolov or jsonl"),
        (["/dev/stdin"], 2, "/dev/stdin can be read only once, so name its format"),
        (["KALDI", "--nbest", "10"], 2, "--nbest says how many word sequences a lattice gives"),
        (["absent.txt"], 3, "no such file"),
        (["PAIRS", "--references", "REFERENCES"], 3, "line 1: no reference for the utterance 'pair-001'"),
    ],
)
def test_what_cannot_be_is_refused(
    recurlm: Command, trained: Path, made: Path, arguments: list[str], code: int, said: str
) -> None:
    places = {"KALDI": made / "kaldi", "PAIRS": made / "pairs.nbest", "REFERENCES": made / "references.txt"}
    done = recurlm("rescore", trained, *[places.get(argument, argument) for argument in arguments])
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
