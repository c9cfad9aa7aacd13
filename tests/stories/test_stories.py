"""Runs five_stories.sh in a shell on made data, and holds each result, and the pages of docs/stories, to it."""

import csv
import gzip
import hashlib
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from recurlm.kernels.native import native_library

HERE = Path(__file__).parent
PAGES = HERE.parent.parent / "docs" / "stories"
SCRIPT = HERE / "five_stories.sh"
STORIES = ("novel", "stimuli", "folder", "logs", "molecules")
LANGUAGES = (".md", ".zh.md")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^# --- (\w+)\ncd \1\n(.*?)^cd \.\.$", re.MULTILINE | re.DOTALL)
FIRST_FIVE, LEAST_DIFFERENCE, LEAST_WELL_FORMED = 5, 1.0, 40


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


made_data = load("made_data")


@dataclass(frozen=True)
class Told:
    """What the script left behind: the folder of the stories, and what it printed."""

    folder: Path
    printed: str

    def lines(self, name: str) -> list[str]:
        return (self.folder / name).read_text("utf-8").splitlines()

    def table(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

    def results(self, run: str) -> dict[str, float]:
        """Perplexities of a run, by what was measured."""
        entries = [json.loads(line) for line in self.lines(f"{run}/metrics.jsonl")]
        last = entries[-1]
        return {name: last[f"{name}_perplexity"] for name in ("valid", "test")}


@pytest.fixture(scope="module")
def environment_of_a_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`recurlm` on the PATH, answered by a server that has loaded torch once; a cache of its own and no network."""
    native_library()
    folder = tmp_path_factory.mktemp("bin")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECURLM_") or "NATIVE" in name}
    own = {"RECURLM_CACHE_DIR": str(folder / "cache"), "RECURLM_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment = kept | own | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    server = [sys.executable, str(HERE / "warm_command.py"), str(folder / "socket")]
    command = folder / "recurlm"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E {server[1]} {server[2]} "$@"\n', "utf-8")
    command.chmod(0o755)
    with subprocess.Popen(server, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield environment
        running.terminate()


@pytest.fixture(scope="module")
def told(environment_of_a_reader: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp("told") / "stories"
    made_data.main(str(folder))
    done = subprocess.run(
        ["sh", str(SCRIPT)], cwd=folder, env=environment_of_a_reader, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return Told(folder, done.stdout)


def unigram_perplexity(train: list[str], test: list[str]) -> float:
    """Of words between spaces, with one added to each count."""
    counts = Counter(word for line in train for word in line.split())
    total, types = counts.total(), len(counts) + 1
    words = [word for line in test for word in line.split()]
    return math.exp(-sum(math.log((counts[word] + 1) / (total + types)) for word in words) / len(words))


def test_a_novel_is_learned_and_its_telegram_surprises(told: Told):
    paragraphs = told.lines("novel/paragraphs.txt")
    assert "\n".join(paragraphs).split() == (told.folder / "novel" / "novel.txt").read_text("utf-8").split()
    words_alone = unigram_perplexity(paragraphs[:-68], paragraphs[-34:])
    assert told.results("novel/runs/novel")["test"] < words_alone / 4
    assert re.search(r"signature +stream\|tokens=[\d]+\|.*\|cut=prose", told.printed)
    generated = re.search(r"^“Where is .*", told.printed, re.MULTILINE)
    assert generated is not None
    assert not re.search(r" [,.?!”]|<unk>", generated[0])
    means = {row["text"]: float(row["mean"]) for row in told.table("novel/scores.tsv")}
    assert min(means, key=means.__getitem__) == made_data.TELEGRAM


def test_the_main_verb_after_a_reduced_clause_is_the_more_surprising(told: Told):
    regions = told.table("stimuli/regions.tsv")
    verbs = {(row["item"], row["condition"]): float(row["surprisal"]) for row in regions if row["region"] == "verb"}
    items = sorted({item for item, _ in verbs})
    differences = [verbs[item, "reduced"] - verbs[item, "full"] for item in items]
    mean = sum(differences) / len(items)
    assert len(items) == 20
    assert mean > LEAST_DIFFERENCE
    assert f"reduced - full: {mean:.2f} bits, t(19) = " in told.printed
    assert f", {sum(difference > 0 for difference in differences)} of 20 items above zero" in told.printed
    assert "0 unknown words" in told.printed


def test_words_and_regions_of_the_stimuli_are_those_of_the_table(told: Told):
    with (told.folder / "stimuli" / "items.csv").open(encoding="utf-8", newline="") as file:
        items = list(csv.DictReader(file))
    words = told.table("stimuli/words.tsv")
    assert [row["word"] for row in words] == [word for item in items for word in item["sentence"].split()]
    for rows in (words, told.table("stimuli/regions.tsv")):
        assert {(row["item"], row["condition"]) for row in rows} == {
            (item["item"], item["condition"]) for item in items
        }
    sums = [sum(float(row["surprisal"]) for row in told.table(f"stimuli/{name}.tsv")) for name in ("words", "regions")]
    assert sums[0] == pytest.approx(sums[1])


def rank(mean: float, others: list[float]) -> int:
    return 1 + sum(other < mean for other in others)


def test_both_anomalies_of_the_logs_rank_in_the_first_five(told: Told):
    lines = told.lines("logs/check.log")
    rows = told.table("logs/scores.tsv")
    assert [row["text"] for row in rows] == lines
    assert len(lines) == 200
    means = [float(row["logprob"]) / int(row["tokens"]) for row in rows]
    planted = [mean for mean, line in zip(means, lines, strict=True) if "Exception writing" in line or "failed" in line]
    assert len(planted) == len(made_data.PLANTED)
    assert all(rank(mean, means) <= FIRST_FIVE for mean in planted)
    unseen = [float(row["mean"]) for row in told.table("logs/unseen.tsv")]
    assert max(planted) < min(unseen)


def test_other_kinds_of_anomalies_rank_in_the_first_five_too(told: Told, environment_of_a_reader: dict[str, str]):
    chance, beside = made_data.Chance(5), told.lines("logs/check.log")[0]
    others = "".join(f"{made_data.anomaly(chance, kind, beside)}\n" for kind in made_data.ANOMALIES)
    command = ["recurlm", "score", "runs/log", "-", "--format", "lines", "--oov", "share:100000"]
    done = subprocess.run(
        command, cwd=told.folder / "logs", env=environment_of_a_reader, input=others, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = [float(row.split("\t")[4]) for row in done.stdout.splitlines()[1:]]
    means = [float(row["mean"]) for row in told.table("logs/scores.tsv")]
    ranks = {kind: rank(mean, means) for kind, mean in zip(made_data.ANOMALIES, found, strict=True)}
    assert max(ranks.values()) <= FIRST_FIVE, ranks


def test_the_block_with_a_wrong_order_costs_most(told: Told):
    received = "dfs.DataNode$DataXceiver:_Receiving_block_src:_dest:"
    lives = {line.split()[0]: line.split()[1:] for line in told.lines("logs/later.txt")}
    wrong = [name for name, events in lives.items() if len(events) > 4 and events[1:4] != [received] * 3]
    costs = {name: float(cost) for name, cost in (line.split() for line in told.lines("logs/costs.txt"))}
    assert wrong == [max(costs, key=costs.__getitem__)]


def test_a_folder_becomes_one_model_that_is_tested_on_whole_files(told: Told):
    corpus = json.loads((told.folder / "folder/runs/letters/config.json").read_text("utf-8"))["corpus"]
    letters = sorted((told.folder / "folder" / "letters").iterdir())
    assert [Path(file["path"]).name for file in corpus["files"]] == [path.name for path in letters]
    texts = [gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in letters]
    digests = {hashlib.sha256(b"".join(texts[place:])).hexdigest() for place in range(1, len(texts))}
    assert corpus["splits"]["test"]["digest"] in digests
    assert told.results("folder/runs/letters")["test"] < 5


def is_well_formed(text: str) -> bool:
    """Whether brackets close and every ring number comes twice, by a stack and a set."""
    open_brackets, open_rings = [], set()
    for character in re.sub(r"\[[^][]*\]", "X", text):
        if character == "(":
            open_brackets.append(character)
        elif character == ")":
            if not open_brackets:
                return False
            open_brackets.pop()
        elif character in "[]":
            return False
        elif character.isdigit():
            open_rings ^= {character}
    return not open_brackets and not open_rings and "()" not in re.sub(r"\[[^][]*\]", "X", text)


def test_molecules_are_well_formed_new_and_without_unknown_characters(told: Told):
    sampled, known = told.lines("molecules/sampled.smi"), told.lines("molecules/molecules.smi")
    assert len(sampled) == 100
    assert all(map(is_well_formed, known))
    assert not is_well_formed("C1CC(C")
    assert not [text for text in sampled if "<unk>" in text]
    assert "no <unk>" in told.printed
    well_formed = [text for text in sampled if is_well_formed(text)]
    assert told.lines("molecules/well-formed.smi") == well_formed
    assert len(well_formed) >= LEAST_WELL_FORMED
    assert len(set(well_formed) - set(known)) > len(well_formed) / 4
    assert [row["text"] for row in told.table("molecules/nll.tsv")] == sampled


def test_a_model_that_was_trained_on_writes_more_sulfonamides(told: Told):
    before, after = (
        sum("S(=O)(=O)N" in line for line in told.lines(f"molecules/{name}.smi")) for name in ("sampled", "focused")
    )
    assert after > before + 10


def blocks(page: Path, language: str) -> list[str]:
    return [content for kind, content in FENCED.findall(page.read_text("utf-8")) if kind == language]


@pytest.mark.parametrize("ending", LANGUAGES)
@pytest.mark.parametrize("story", STORIES)
def test_a_page_has_the_commands_of_the_script(story: str, ending: str):
    sections = dict(SECTION.findall(SCRIPT.read_text("utf-8")))
    assert tuple(sections) == STORIES
    assert "".join(blocks(PAGES / f"{story}{ending}", "sh")) == sections[story]


@pytest.mark.parametrize("story", STORIES)
def test_both_languages_show_the_same_outputs(story: str):
    english, chinese = (blocks(PAGES / f"{story}{ending}", "text") for ending in LANGUAGES)
    assert english
    assert english == chinese


RESULT_LINES = {"novel": 1, "stimuli": 1, "folder": 1, "logs": 2, "molecules": 2}
"""How many lines of a page's last output every machine prints alike, apart from numbers."""


def without_numbers(text: str) -> str:
    return re.sub(r"-?\d[\d.,]*", "#", text)


@pytest.mark.parametrize("story", STORIES)
def test_a_page_ends_with_the_result_of_the_script(told: Told, story: str):
    printed = without_numbers(told.printed).splitlines()
    result = without_numbers(blocks(PAGES / f"{story}.md", "text")[-1]).splitlines()
    for line in result[: RESULT_LINES[story]]:
        assert line in printed


@pytest.mark.parametrize("ending", LANGUAGES)
def test_the_index_lists_every_story(ending: str):
    listed = re.findall(r"\]\(([\w-]+(?:\.zh)?\.md)\)", (PAGES / f"README{ending}").read_text("utf-8"))
    assert {f"{story}{ending}" for story in STORIES} <= set(listed)
