"""Prompts as ids: a written `<eos>` is that token; one at the start is the `<eos>` after which every text begins."""

from collections.abc import Sequence
from dataclasses import dataclass

from recurlm.serving.errors import RequestError
from recurlm.text.codec import Codec
from recurlm.text.vocabulary import EOS, EOS_ID


@dataclass(frozen=True)
class Prompt:
    """What a model reads before it draws.

    ids: without an `<eos>` at the start, which the model reads anyway · begins_with_eos: whether the prompt had one.
    """

    ids: tuple[int, ...]
    begins_with_eos: bool

    @property
    def whole(self) -> tuple[int, ...]:
        """The ids as the prompt has them."""
        return (EOS_ID, *self.ids) if self.begins_with_eos else self.ids


def text_ids(codec: Codec, text: str) -> tuple[list[int], list[str]]:
    """Ids of a text whose line feeds and written `<eos>` are `<eos>`, and the tokens that the vocabulary lacks.

    Raises InputError as `Codec.text_ids` does.
    """
    ids: list[int] = []
    unknown: list[str] = []
    for number, part in enumerate(text.split(EOS)):
        found, lacking = codec.text_ids(part)
        ids += [EOS_ID, *found] if number else found
        unknown += lacking
    return ids, unknown


def read_prompt(codec: Codec, given: str | Sequence[int], *, allow_unknown: bool = False) -> Prompt:
    """A prompt that a request gives as text or ids.

    Raises RequestError for an id out of range and, unless they are allowed, for words that the vocabulary lacks.
    """
    if isinstance(given, str):
        ids, unknown = text_ids(codec, given)
        if unknown and not allow_unknown:
            named = ", ".join(map(repr, unknown))
            raise RequestError(400, f"the prompt has words that the model does not know: {named}", param="prompt")
    else:
        ids = check_ids(codec, given, "prompt")
    begins = ids[:1] == [EOS_ID]
    return Prompt(tuple(ids[begins:]), begins)


def check_ids(codec: Codec, ids: Sequence[int], param: str) -> list[int]:
    """The ids themselves. Raises RequestError for one that the vocabulary lacks."""
    size = len(codec.vocabulary)
    strange = next((index for index in ids if not 0 <= index < size), None)
    if strange is not None:
        raise RequestError(
            400, f"{param}: id {strange} is not in the vocabulary; ids go from 0 to {size - 1}", param=param
        )
    return list(ids)
