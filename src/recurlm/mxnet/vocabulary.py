"""The vocabulary, which MXNet's files do not contain: word to id, from a file that the user provides.

Id 0 is the line feed, which ``mx.rnn.encode_sentences`` uses as end of sentence and as padding.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recurlm.documents import parse_json
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import opened, read_bounded, write_whole
from recurlm.files.limits import LARGEST_DOCUMENT, raised
from recurlm.files.streams import raw_lines
from recurlm.text.lines import decoded_lines
from recurlm.wording import counted

LINE_FEED = "\n"


def read_vocabulary(path: Path) -> dict[str, int]:
    """Reads word → id from one of three kinds of file, which are recognized by their content.

    1. A JSON object, if the first character that is not a space is ``{`` and all of it parses, or the name
       ends in ``.json``. Ids are 0 to V − 1, each once.
    2. A list of words, if every line is one word without spaces and none occurs twice. The first line has
       id 1, as words do in MXNet, and the line feed, which no line can hold, id 0. Empty lines are passed
       over: a list written from id 0 on begins with them.
    3. A training text otherwise. Ids are given as ``encode_sentences(start_label=1, invalid_label=0)`` gives
       them: lines split at single spaces, empty strings dropped, ids from 1 by first appearance, the line
       feed 0. Where no space stands before the line feed MXNet makes it part of the word, so ``"end"`` and
       ``"end\\n"`` are two words; this is reproduced.

    Text is UTF-8; a byte order mark at its start is skipped.
    Raises InputError for a file that is absent, is not UTF-8 or gives no vocabulary,
    CorruptFileError for damaged JSON.
    """
    if _may_be_json(path):
        try:
            return _from_json(path)
        except CorruptFileError:
            if path.suffix == ".json":
                raise
    vocabulary = _from_list(path) or _from_text(path)
    if len(vocabulary) == 1:
        raise InputError(f"{path}: holds no words")
    return vocabulary


def check_vocabulary_size(path: Path, vocabulary: Mapping[str, int], expected: int) -> None:
    """Raises InputError for a vocabulary whose size differs from the model's."""
    if len(vocabulary) != expected:
        raise InputError(
            f"{path}: {counted(len(vocabulary), 'word')}, the line feed among them, but the model has {expected}; "
            "bring the vocabulary or the training text it was trained with"
        )


def write_vocabulary(path: Path, vocabulary: Mapping[str, int]) -> None:
    """Writes word → id as the JSON object that ``read_vocabulary`` reads."""
    write_whole(path, json.dumps(dict(vocabulary)).encode())


def _may_be_json(path: Path) -> bool:
    if path.suffix == ".json":
        return True
    first = next((line for line in _lines(path) if line.strip()), "")
    return first.lstrip().startswith("{") and path.stat().st_size <= raised(LARGEST_DOCUMENT)


def _from_json(path: Path) -> dict[str, int]:
    """Raises CorruptFileError for content that is not JSON, InputError for JSON that is not word → id."""
    content = read_bounded(path)
    value = parse_json(content, str(path), as_object=lambda pairs: _words(path, pairs))
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object word → id is expected")
    if not value:
        raise InputError(f"{path}: holds no words")
    if sorted(value.values()) != list(range(len(value))):
        raise InputError(f"{path}: ids are not 0 to {len(value) - 1}, each once")
    return value


def _words(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, int]:
    vocabulary: dict[str, int] = {}
    for word, number in pairs:
        if type(number) is not int or not _is_text(word):
            raise InputError(f"{path}: word {word!r:.60}: an id is expected, not {str(number)[:40]!r}")
        if word in vocabulary:
            raise InputError(f"{path}: word {word!r:.60} occurs twice")
        vocabulary[word] = number
    return vocabulary


def _is_text(word: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in word)


def _lines(path: Path) -> Iterator[str]:
    """Lines with their line feeds; the last line may lack one."""
    last = b""

    def remembered(lines: Iterator[bytes]) -> Iterator[bytes]:
        nonlocal last
        for line in lines:
            last = line
            yield line

    with opened(path) as file:
        for line in decoded_lines(remembered(raw_lines(file, str(path))), str(path)):
            yield f"{line}\n" if last.endswith(b"\n") else line


def _from_list(path: Path) -> dict[str, int] | None:
    """The vocabulary of a list of words, or None where the file is something else."""
    vocabulary = {LINE_FEED: 0}
    for line in _lines(path):
        word = line.removesuffix("\n")
        if " " in word or word in vocabulary:
            return None
        if word:
            vocabulary[word] = len(vocabulary)
    return vocabulary


def _from_text(path: Path) -> dict[str, int]:
    vocabulary = {LINE_FEED: 0}
    for line in _lines(path):
        for word in line.split(" "):
            if word:
                vocabulary.setdefault(word, len(vocabulary))
    return vocabulary
