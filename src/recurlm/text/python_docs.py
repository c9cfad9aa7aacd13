"""The embedded corpus: the language reference and manual topics that every Python installation carries."""

import re
import textwrap
from collections.abc import Collection, Iterator

from recurlm.errors import InputError

PARAGRAPHS_PER_CYCLE = 20
ABBREVIATIONS = ("e.g.", "i.e.", "etc.", "cf.", "vs.")

_RULE = re.compile(r"[*=\-^~\"+|.#]{3,}")
_ITEM = re.compile(r"(?:[*\-•]|\d+\.|\(?[a-z0-9]\))\s+")
_EMPHASIS = re.compile(r"(?<![\w*])\*{1,2}([^\s*](?:[^*]*[^\s*])?)\*{1,2}(?![\w*])")
_QUOTES = re.compile(r"[\"“”‘]|’(?!\w)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[)\]]*\s+(?=[(\[]*[A-Z_])")
_TOKEN = re.compile(
    r"[ei]\.[ge]\.|\d+(?:\.\d+)+|\w+(?:[.'\-]\w+)*(?:\(\))?"
    r"|\(\)|\[\]|\{\}|\.\.\.|->|[=!<>:]=|\*\*|//|<<|>>|--|\S"
)
_WORD = re.compile(r"[A-Za-z][a-z]*(?:[-'’][a-z]+)*[.,;:!?)\"]*")


def python_docs() -> dict[str, str]:
    """Train, valid and test made from the prose of `pydoc_data.topics`: a sentence a line, a space between tokens.

    Code, grammar, tables and headings are left out, and so are double quotes, which mark code there. Of every 20
    paragraphs the 10th goes to valid and the 20th to test; a paragraph that several topics repeat counts once.
    The text depends on the Python version. Raises InputError if this Python lacks the topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            "this Python installation lacks pydoc_data, from which the corpus python-docs is made\n"
            "install the whole standard library, or name another text"
        ) from None
    paragraphs = (paragraph for topic in sorted(topics) for paragraph in _paragraphs(topics[topic]))
    distinct = dict.fromkeys(tuple(lines) for paragraph in paragraphs if (lines := _sentences_of(paragraph)))
    splits: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for number, lines in enumerate(_with_plain_beginnings(distinct), start=1):
        split = {PARAGRAPHS_PER_CYCLE // 2: "valid", 0: "test"}.get(number % PARAGRAPHS_PER_CYCLE, "train")
        splits[split].extend(lines)
    return {split: "".join(f"{line}\n" for line in lines) for split, lines in splits.items()}


def _paragraphs(topic: str) -> Iterator[list[str]]:
    """The lines of each paragraph between blank lines, without headings, rules and tables."""
    for paragraph in re.split(r"\n[ \t]*\n", topic):
        lines = [line.rstrip() for line in paragraph.split("\n") if line.strip()]
        if not any(_RULE.fullmatch(line.strip().replace(" ", "")) or line.lstrip().startswith("|") for line in lines):
            yield lines


def _sentences_of(paragraph: list[str]) -> list[str]:
    """The sentences of the prose in a paragraph, a space between tokens."""
    items = (re.sub(r"(?<=\w-)\s+(?=\w)", "", " ".join(lines)) for lines in _items(paragraph))
    return [" ".join(_TOKEN.findall(line)) for item in items if _is_prose(item) for line in _sentences(item)]


def _items(paragraph: list[str]) -> Iterator[list[str]]:
    """Runs of lines that were one line before wrapping; a bullet or another indentation begins the next."""
    item: list[str] = []
    indentation = 0
    for line in textwrap.dedent("\n".join(paragraph)).split("\n"):
        text = line.lstrip()
        depth = len(line) - len(text)
        marker = _ITEM.match(text)
        if item and (marker or depth != indentation):
            yield item
            item = []
        text = text[marker.end() :] if marker else text
        indentation = depth + (marker.end() if marker else 0)
        item.append(text)
    yield item


def _is_prose(text: str) -> bool:
    words = text.split()
    plain = sum(1 for word in words if _WORD.fullmatch(word.lstrip('*"(')))
    return len(words) >= 4 and "::=" not in text and plain >= 0.6 * len(words)


def _sentences(paragraph: str) -> Iterator[str]:
    plain = _EMPHASIS.sub(r"\1", _QUOTES.sub("", paragraph)).replace("’", "'")
    start = 0
    for end in _SENTENCE_END.finditer(plain):
        if plain[: end.start()].lower().endswith(ABBREVIATIONS):
            continue
        yield plain[start : end.end()]
        start = end.end()
    yield plain[start:]


def _with_plain_beginnings(paragraphs: Collection[tuple[str, ...]]) -> list[list[str]]:
    """The sentences; a first word that is lower case elsewhere becomes lower case."""
    known = {word for lines in paragraphs for line in lines for word in line.split(" ")}
    return [[_with_plain_beginning(line, known) for line in lines] for lines in paragraphs]


def _with_plain_beginning(line: str, known: set[str]) -> str:
    first, space, rest = line.partition(" ")
    small = first.lower()
    return small + space + rest if first.istitle() and small in known else line
