"""Tokens and their ids."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError

EOS = "<eos>"
UNK = "<unk>"
EOS_ID = 0
FORMAT = "recurlm vocabulary 1"
FORMAT_WITH_CUT = "recurlm vocabulary 2"
"""The format of a vocabulary that records how words are cut; versions that know only spaces refuse it."""


@dataclass(frozen=True)
class Vocabulary:
    """An ordered list of distinct tokens; id 0 is always ``<eos>``, the end of a sentence."""

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.tokens or self.tokens[EOS_ID] != EOS:
            raise InputError(f"vocabulary: id 0 must be {EOS}")
        if len(self.ids) != len(self.tokens):
            twice = next(token for place, token in enumerate(self.tokens) if self.ids[token] != place)
            raise InputError(f"vocabulary: the token {twice!r} stands in it twice")

    @classmethod
    def build(
        cls,
        counts: Mapping[str, int],
        *,
        order: Literal["frequency", "appearance"] = "frequency",
        minimum_count: int = 1,
        maximum_size: int | None = None,
        unknown: bool = True,
    ) -> "Vocabulary":
        """Choose tokens from counts given in order of first appearance.

        ``<eos>`` is id 0. An ``<unk>`` that the text holds counts like any other token; otherwise,
        with `unknown`, ``<unk>`` becomes id 1. Ties in frequency keep the order of appearance.
        """
        special = (EOS, UNK) if unknown and UNK not in counts else (EOS,)
        room = None if maximum_size is None else max(maximum_size - len(special), 0)
        kept = [token for token, count in counts.items() if count >= minimum_count or token == UNK]
        allowed = set(sorted(kept, key=lambda token: (token != UNK, -counts[token]))[:room])
        chosen = [token for token in kept if token in allowed]
        if order == "frequency":
            chosen.sort(key=lambda token: -counts[token])
        return cls(special + tuple(chosen))

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token to id."""
        return {token: index for index, token in enumerate(self.tokens)}

    @property
    def unknown_id(self) -> int | None:
        """Id of ``<unk>``, or None where unknown words are refused."""
        return self.ids.get(UNK)

    @property
    def placeholders(self) -> tuple[int, ...]:
        """Ids of tokens that stand for other words: that of ``<unk>``, or none."""
        return () if self.unknown_id is None else (self.unknown_id,)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the tokens in order."""
        return hashlib.sha256("\n".join(self.tokens).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.tokens)

    def to_json(self, unit: str, cut: Mapping[str, Any] | None = None) -> str:
        """Readable JSON, one token a line; `cut` says how words are cut where that is not at spaces."""
        head = {
            "format": FORMAT_WITH_CUT if cut else FORMAT,
            "unit": unit,
            **(cut or {}),
            "eos": EOS,
            "unk": UNK if self.unknown_id is not None else None,
        }
        fields = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        tokens = ",\n    ".join(json.dumps(token, ensure_ascii=False) for token in self.tokens)
        return "{\n" + ",\n".join(fields) + ',\n  "tokens": [\n    ' + tokens + "\n  ]\n}\n"

    @classmethod
    def from_json(cls, content: bytes | str, place: str) -> tuple["Vocabulary", str]:
        """The vocabulary and its unit ('word', 'character', 'bpe'). Raises CorruptFileError naming `place`."""
        return cls.from_values(parse_json_object(content, place), place)

    @classmethod
    def from_values(cls, value: Mapping[str, Any], place: str) -> tuple["Vocabulary", str]:
        """The same, of parsed JSON."""
        if value.get("format") not in (FORMAT, FORMAT_WITH_CUT):
            raise CorruptFileError(f'{place}: not a vocabulary of this program (no "format": {FORMAT!r})')
        tokens, unit = value.get("tokens"), value.get("unit")
        if (
            not isinstance(tokens, list)
            or not all(isinstance(token, str) for token in tokens)
            or unit not in ("word", "character", "bpe")
        ):
            raise CorruptFileError(f"{place}: its tokens must be a list of texts and its unit word, character or bpe")
        try:
            return cls(tuple(tokens)), unit
        except InputError as error:
            raise CorruptFileError(f"{place}: {error}") from error
