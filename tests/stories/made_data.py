"""Makes the files of the stories in docs/stories: `python made_data.py FOLDER [SEED]`.

Each story has a folder of its own. The files imitate what a reader would bring: a novel, a table of stimuli and a text
to learn from, fifty letters, logs of a distributed file system, and molecules.
"""

import csv
import gzip
import random
import string
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path


class Chance(random.Random):
    """A random generator that also fills in templates."""

    def fill(self, template: str, **choices: object) -> str:
        """Replaces each `{name}` by one of the choices of that name, or by what the function of that name makes."""
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        made = [made(self) if callable(made := choices[name]) else self.choice(made) for name in fields]
        values = iter(made)
        return "".join(
            text + (next(values) if name is not None else "") for text, name, _, _ in string.Formatter().parse(template)
        )


# ---------------------------------------------------------------- a novel, and letters

PROSE = {
    "who": ("Anna", "Mr. Hale", "the captain", "her sister", "old Margaret", "the doctor", "Thomas", "the widow"),
    "where": ("the garden", "the harbor", "the kitchen", "the church", "the library", "the road to the mill"),
    "thing": ("a letter", "the lamp", "a silver key", "his hat", "the map", "a basket of apples", "the old clock"),
    "quality": ("quiet", "cold", "bright", "strange", "empty", "dark", "warm"),
    "time": ("morning", "evening", "winter", "night", "Sunday", "afternoon"),
    "feeling": ("afraid", "tired", "happy", "ashamed", "curious", "angry"),
    "did": ("opened", "dropped", "carried", "remembered", "hid", "looked for", "put down"),
    "came": ("walked to", "came back from", "ran through", "waited in", "turned away from", "looked across"),
    "sound": ("the wind", "the rain", "the bell", "the sea", "a dog", "the wind in the chimney"),
    "said": ("said", "asked", "whispered", "cried", "answered"),
    "adverb": ("slowly", "at last", "again", "without a word", "with a smile", "in a low voice"),
}
SENTENCES = (
    "It was a {quality} {time}, and {who} {came} {where}.",
    "{who} {did} {thing} and {came} {where}.",
    "When {who} {came} {where}, {who} was {feeling}.",
    "In {where} it was {quality}; only {sound} could be heard.",
    "{who} had never been so {feeling} before.",
    "That {time} {who} {did} {thing}.",
    "Nobody knew why {who} {did} {thing}, and nobody asked.",
    "{sound} had stopped, and {where} was {quality}.",
    "“Where is {thing}?” {said} {who}. “I left it in {where}.”",
    "“You are {feeling},” {said} {who} {adverb}.",
    "“I don't know,” {said} {who}, and {did} {thing}.",
    "“Come with me to {where}!” {said} {who}.",
    "“It's {quality} in {where},” {said} {who} {adverb}, “and I am {feeling}.”",
    "The letter was for {who}, but {who} {did} it {adverb}.",
)
TELEGRAM = "ARRIVED SAFE STOP LETTER FOR ANNA IN THE CLOCK STOP COME AT ONCE"
"""One paragraph of a novel in another style, near its end."""


def sentence(chance: Chance, templates: tuple[str, ...] = SENTENCES) -> str:
    made = chance.fill(chance.choice(templates), **PROSE)
    return made[0].upper() + made[1:]


def paragraphs(chance: Chance, count: int) -> list[str]:
    return [" ".join(sentence(chance) for _ in range(chance.randint(2, 6))) for _ in range(count)]


def novel(chance: Chance, chapters: int = 18) -> str:
    """Chapters of paragraphs with a blank line between, and lines of at most 70 characters, as Gutenberg has them."""
    parts = [part for number in range(1, chapters + 1) for part in (f"CHAPTER {number}", *paragraphs(chance, 40))]
    parts.insert(-chance.randrange(5, 30), TELEGRAM)
    return "\n\n".join(textwrap.fill(part, 70) for part in parts) + "\n"


def letter(chance: Chance) -> str:
    """A letter, one paragraph a line."""
    greeting = chance.fill("Dear {who},", who=("Anna", "Thomas", "Margaret", "Mr. Hale"))
    return "\n".join([greeting, *paragraphs(chance, 12), "Yours, " + chance.choice(("John", "Mary", "Ellen"))]) + "\n"


# ---------------------------------------------------------------- sentences for a psycholinguist

RACERS = ("horse", "dog", "boat", "cart", "boy", "pony", "sailor", "child", "mule", "rider")
MOVED = ("raced", "walked", "rushed", "pushed", "marched")
PASSED = ("past the barn", "down the hill", "across the field", "along the river", "through the gate")
ENDED = ("fell", "stopped", "vanished", "slept", "shouted")
LATER = ("in the rain", "near the house", "after an hour", "before noon")
GARDEN = {"noun": RACERS, "moved": MOVED, "passed": PASSED, "ended": ENDED, "later": LATER}
SPOKEN = (
    *("The {noun} {moved} {passed}.",) * 6,
    *("The {noun} {moved} {passed} {later}.",) * 6,
    *("The {noun} {ended} {later}.",) * 3,
    *("The {noun} that was {moved} {passed} {ended} {later}.",) * 5,
    "The {noun} {moved} {passed} {ended} {later}.",
)
"""Sentences with the frequencies of English: the reduced relative clause is rare."""


def spoken(chance: Chance, lines: int) -> list[str]:
    return [chance.fill(chance.choice(SPOKEN), **GARDEN) for _ in range(lines)]


def stimuli(chance: Chance) -> Iterator[dict[str, object]]:
    """Twenty items in two conditions: the main verb after a reduced relative clause, and after a full one."""
    for item in range(1, 21):
        words = {name: chance.choice(choices) for name, choices in GARDEN.items()}
        for condition, relative in (("reduced", ""), ("full", "that was ")):
            labels = ["subject"] * 2 + ["relative"] * len(f"{relative}{words['moved']} {words['passed']}".split())
            labels += ["verb"] + ["rest"] * len(words["later"].split())
            text = (
                f"The {words['noun']} {relative}{words['moved']} {words['passed']} {words['ended']} {words['later']}."
            )
            yield {"item": item, "condition": condition, "sentence": text, "regions": " ".join(labels)}


# ---------------------------------------------------------------- logs, in the form of HDFS's (Xu et al. 2009)

ANOMALIES = {
    "an exception": "WARN dfs.DataNode$DataXceiver: {address}:50010:Exception writing block {block} to mirror "
    "java.net.SocketTimeoutException: 480000 millis timeout while waiting for channel",
    "an unseen event": "INFO dfs.FSNamesystem: BLOCK* Removing block {block} from neededReplications",
    "odd words": "INFO dfs.DataBlockScanner: Verification failed for {block}",
    "words in another order": "INFO dfs.DataNode$PacketResponder: PacketResponder terminating 1 for block {block}",
}
PLANTED = ("an exception", "odd words")


def address(chance: Chance) -> str:
    return f"10.{chance.choice((250, 251))}.{chance.randrange(1, 255)}.{chance.randrange(1, 255)}"


def block(chance: Chance) -> str:
    return f"blk_{chance.choice(('', '-'))}{chance.randrange(10**17, 9 * 10**18)}"


def life_of_a_block(chance: Chance) -> Iterator[str]:
    """The lines that one block leaves, in their order."""
    name, size, nodes = block(chance), chance.randrange(10**4, 10**8), [address(chance) for _ in range(3)]
    file = f"/user/root/rand{chance.choice(('', '2', '7'))}/_temporary/_task_200811{chance.randrange(10**6, 10**7)}"
    yield f"INFO dfs.FSNamesystem: BLOCK* NameSystem.allocateBlock: {file}/part-{chance.randrange(2000):05}. {name}"
    for node in nodes:
        port = chance.randrange(32768, 61000)
        yield f"INFO dfs.DataNode$DataXceiver: Receiving block {name} src: /{node}:{port} dest: /{node}:50010"
    for number, node in enumerate(nodes):
        yield f"INFO dfs.DataNode$PacketResponder: PacketResponder {number} for block {name} terminating"
        yield f"INFO dfs.DataNode$PacketResponder: Received block {name} of size {size} from /{node}"
        yield (
            f"INFO dfs.FSNamesystem: BLOCK* NameSystem.addStoredBlock: blockMap updated: {node}:50010 is added to "
            f"{name} size {size}"
        )
    yield from later_life(chance, name, nodes)


def later_life(chance: Chance, name: str, nodes: list[str]) -> Iterator[str]:
    """What happens to some blocks only."""
    first = f"{nodes[0]}:50010"
    if chance.random() < 0.03:
        yield f"INFO dfs.DataNode: {first} Starting thread to transfer block {name} to {address(chance)}:50010"
    if chance.random() < 0.4:
        yield f"INFO dfs.DataBlockScanner: Verification succeeded for {name}"
    if chance.random() < 0.3:
        yield f"INFO dfs.DataNode$DataXceiver: {first} Served block {name} to /{address(chance)}"
    if chance.random() < 0.3:
        yield f"WARN dfs.DataNode$DataXceiver: {first}:Got exception while serving {name} to /{address(chance)}:"
    if chance.random() < 0.5:
        yield f"INFO dfs.FSNamesystem: BLOCK* NameSystem.delete: {name} is added to invalidSet of {first}"
        yield f"INFO dfs.FSDataset: Deleting block {name} file /mnt/hadoop/dfs/data/subdir{chance.randrange(64)}/{name}"


def log(chance: Chance, lines: int) -> list[str]:
    """Twenty blocks live side by side: each line is the next one of some block."""
    alive = [life_of_a_block(chance) for _ in range(20)]
    made: list[str] = []
    second = 20 * 3600
    while len(made) < lines:
        life = chance.choice(alive)
        if (event := next(life, None)) is None:
            alive[alive.index(life)] = life_of_a_block(chance)
            continue
        second += chance.choice((0, 0, 0, 1, 2))
        made.append(
            f"081109 {second // 3600:02}{second // 60 % 60:02}{second % 60:02} {chance.randrange(9999)} {event}"
        )
    return made


def anomaly(chance: Chance, kind: str, beside: str) -> str:
    """An abnormal line of this kind, at the time of the line beside it."""
    return " ".join([*beside.split(" ")[:3], chance.fill(ANOMALIES[kind], block=block, address=address)])


def planted(chance: Chance, lines: list[str]) -> list[str]:
    """The same lines, two of them replaced by anomalies."""
    places = chance.sample(range(len(lines)), len(PLANTED))
    changed = {place: anomaly(chance, kind, lines[place]) for place, kind in zip(places, PLANTED, strict=True)}
    return [changed.get(place, line) for place, line in enumerate(lines)]


def disordered(chance: Chance, lines: list[str]) -> list[str]:
    """The same lines, but two events of one block change places: it is received before anything was sent."""
    name = next(line.split(" ")[-1] for line in lines[len(lines) // 3 :] if "allocateBlock" in line)
    events = [number for number, line in enumerate(lines) if name in line]
    first, second = events[chance.choice((1, 2, 3))], events[chance.choice((5, 6, 8, 9))]
    clocks, messages = zip(*((line.split(" ")[:3], line.split(" ")[3:]) for line in lines), strict=True)
    changed = list(messages)
    changed[first], changed[second] = messages[second], messages[first]
    return [" ".join([*clock, *message]) for clock, message in zip(clocks, changed, strict=True)]


# ---------------------------------------------------------------- molecules as SMILES strings

ENDS = ("C", "CC", "OC", "F", "Cl", "Br", "O", "N", "C#N", "C(F)(F)F", "[N+](=O)[O-]", "C(=O)[O-]", "C[NH3+]")
LINKERS = (
    *("C{more}", "CC{more}", "C(=O)N{more}", "C(=O)O{more}", "N{more}", "O{more}", "S(=O)(=O)N{more}", "C=C{more}"),
    *("C({end}){more}", "[C@H]({end}){more}", "[C@@H]({end}){more}", "N({end}){more}"),
)
RINGS = (
    *("c{n}ccc({more})cc{n}", "c{n}cc({end})c({more})cc{n}", "c{n}ccc({more})nc{n}", "c{n}cc({more})sc{n}"),
    *("C{n}CCN({more})CC{n}", "C{n}CCC({more})CC{n}", "c{n}c({more})[nH]nc{n}", "N{n}CCO[C@H]({more})C{n}"),
)


def molecule(chance: Chance, ring: int = 1) -> str:
    """A string of linkers, rings and ends; `ring` is the first free ring number."""
    kind = chance.random()
    if ring > 3 or kind < 0.2:
        return chance.choice(ENDS)
    template = chance.choice(RINGS if kind < 0.6 else LINKERS)
    inner = ring + ("{n}" in template)
    return chance.fill(template, n=[str(ring)], end=ENDS, more=lambda chance: molecule(chance, inner))


def molecules(chance: Chance, count: int) -> list[str]:
    """Distinct strings of 8 to 40 characters."""
    made: dict[str, None] = {}
    while len(made) < count:
        if 8 <= len(text := molecule(chance)) <= 40:
            made[text] = None
    return list(made)


# ---------------------------------------------------------------- files


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_stimuli(folder: Path, chance: Chance) -> None:
    write_lines(folder / "english.txt", spoken(chance, 4000))
    rows = list(stimuli(chance))
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_letters(folder: Path, chance: Chance) -> None:
    """Fifty files, every fifth one compressed."""
    (folder / "letters").mkdir()
    for number in range(1, 51):
        path, text = folder / "letters" / f"letter-{number:02}.txt", letter(chance).encode()
        if number % 5:
            path.write_bytes(text)
        else:
            path.with_suffix(".txt.gz").write_bytes(gzip.compress(text, mtime=0))


def write_logs(folder: Path, chance: Chance) -> None:
    lines = log(chance, 3200)
    write_lines(folder / "normal.log", lines[:3000])
    write_lines(folder / "check.log", planted(chance, lines[3000:]))
    write_lines(folder / "later.log", disordered(chance, log(chance, 1500)))


def main(target: str, seed: str = "1") -> None:
    writers = {
        "novel": lambda folder, chance: (folder / "novel.txt").write_text(novel(chance), encoding="utf-8"),
        "stimuli": write_stimuli,
        "folder": write_letters,
        "logs": write_logs,
        "molecules": lambda folder, chance: write_lines(folder / "molecules.smi", molecules(chance, 2000)),
    }
    for name, write in writers.items():
        folder = Path(target) / name
        folder.mkdir(parents=True)
        write(folder, Chance(f"{name} {seed}"))


if __name__ == "__main__":
    main(*sys.argv[1:])
