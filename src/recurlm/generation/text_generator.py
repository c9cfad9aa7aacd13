"""Continues prompts: samples side by side, one sample as a stream, or the best texts of a beam search."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

from recurlm.errors import InputError, UsageError
from recurlm.generation.beam_search import BeamOptions, beam_search
from recurlm.generation.endings import Ending, GrowingSample, GrowingText, collect
from recurlm.generation.sampling import SamplingOptions, check_samples_fit, sample, summed_logprobs
from recurlm.markup import markup
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State
from recurlm.terminal import escaped
from recurlm.text.codec import Codec
from recurlm.text.vocabulary import EOS, EOS_ID, Vocabulary
from recurlm.wording import counted

_Options = TypeVar("_Options", SamplingOptions, BeamOptions)


@dataclass(frozen=True, repr=False)
class Generation:
    """A continuation of a prompt: its text and tokens, and the whole text with the prompt.

    logprob: natural log-probability that `score` gives the tokens, however they were drawn; None where it was not asked
    for · seed: None where a beam found the text · end: what ended it: ``tokens``, as many as asked for, ``eos``, which
    is the last of the tokens but not part of the text, or ``stop`` · score: what a beam ranks it by, else None.
    """

    prompt: str
    text: str
    tokens: tuple[str, ...]
    logprob: float | None
    seed: int | None
    whole: str
    end: str = "tokens"
    score: float | None = None

    def __str__(self) -> str:
        return self.whole

    def __repr__(self) -> str:
        return f"Generation({escaped(self.whole)!r}: {self._description})"

    def _repr_html_(self) -> str:
        """The whole text, the prompt in bold, and below it how it was drawn."""
        before, after = "", self.whole
        if self.whole.startswith(self.prompt):
            before, after = self.prompt, self.whole.removeprefix(self.prompt)
        text = f"<b>{markup(before)}</b>{markup(after)}"
        return f'<div style="white-space:pre-wrap">{text}</div><div><small>{markup(self._description)}</small></div>'

    @property
    def _description(self) -> str:
        """How the text was drawn, and its log-probability in nats."""
        ends = {"tokens": "as many as asked for", "eos": "ended with <eos>", "stop": "ended at a stop"}
        parts = [f"{counted(len(self.tokens), 'token')}, {ends.get(self.end, self.end)}"]
        parts += [] if self.logprob is None else [f"logprob {self.logprob:.3f}"]
        parts += [] if self.seed is None else [f"seed {self.seed}"]
        parts += [] if self.score is None else [f"score {self.score:.3f}"]
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The object that `generate --json` prints."""
        return {
            "prompt": self.prompt,
            "text": self.text,
            "tokens": list(self.tokens),
            "logprob": self.logprob,
            "seed": self.seed,
            "end": self.end,
        } | ({} if self.score is None else {"score": self.score})


@dataclass(frozen=True)
class TextGenerator:
    """Continues prompts with a model, from the state `start` if there is one; never with ``<unk>`` unless allowed."""

    network: LanguageModel
    codec: Codec
    start: State | None = None
    allow_unk: bool = False

    def samples(
        self,
        prompt: str,
        options: SamplingOptions,
        ending: Ending,
        *,
        count: int,
        tokens: int,
        seed: int,
        logprobs: bool = True,
    ) -> list[Generation]:
        """`count` samples of at most `tokens` tokens in one batch; an ended sample does not change the others.

        Each choice is a keyword, as users name it. Raises UsageError for options that cannot be carried out, InputError
        for a token of the prompt that the vocabulary lacks.
        """
        options = self._drawable(options)
        check_samples_fit(count, tokens, self.network.vocabulary_size)
        draws = itertools.islice(self._draws(prompt, options, ending, count, seed), tokens)
        samples = collect(draws, count, self.codec, ending)
        summed: Sequence[float | None] = [None] * count
        if logprobs:
            rows = [sample.ids for sample in samples]
            summed = summed_logprobs(self.network, prompt_ids(self.codec, prompt), rows, self.start)
        return [
            self._generation(prompt, sample, logprob, seed) for sample, logprob in zip(samples, summed, strict=True)
        ]

    def stream(self, prompt: str, options: SamplingOptions, ending: Ending, *, tokens: int, seed: int) -> Iterator[str]:
        """The prompt and then the sample piece by piece as it is drawn; the pieces join to the whole text."""
        options = self._drawable(options)
        ids = prompt_ids(self.codec, prompt)
        yield self.codec.decode(ids)
        sample, text, shown = GrowingSample(self.codec, ending), GrowingText(self.codec, ids), 0
        for drawn in itertools.islice(self._draws(prompt, options, ending, 1, seed), tokens):
            sample.add(int(drawn[0]))
            if sample.has_ended:
                break
            settled = sample.settled
            yield "".join(map(text.add, sample.ids[shown:settled]))
            shown = max(shown, settled)
        yield "".join(map(text.add, sample.sentence_ids[shown:])) + text.rest()

    def best(self, prompt: str, options: BeamOptions, *, count: int, tokens: int) -> list[Generation]:
        """The `count` best texts that a beam finds, best first, each to ``<eos>`` or `tokens` tokens.

        Raises UsageError where `count` is larger than the beam is wide.
        """
        ids, options = prompt_ids(self.codec, prompt), self._drawable(options)
        found = beam_search(self.network, ids, options, tokens=tokens, count=count, start=self.start)
        return [self._generation(prompt, self._ended(each.ids), each.logprob, None, each.score) for each in found]

    def _drawable(self, options: _Options) -> _Options:
        """The options with ``<unk>`` banned, unless it is allowed."""
        if self.allow_unk:
            return options
        return replace(options, banned=tuple({*options.banned, *self.codec.vocabulary.placeholders}))

    def _draws(self, prompt: str, options: SamplingOptions, ending: Ending, count: int, seed: int) -> Iterator[Tensor]:
        if ending.at_eos and EOS_ID in options.banned:
            raise UsageError(f"{EOS} is banned, so no sample can end with it; leave out one of the two")
        ids = prompt_ids(self.codec, prompt)
        return sample(self.network, ids, options, count=count, seed=seed, start=self.start)

    def _ended(self, ids: Iterable[int]) -> GrowingSample:
        """A continuation that ends at its ``<eos>``, if it has one."""
        sample = GrowingSample(self.codec, Ending(at_eos=True))
        for index in ids:
            sample.add(index)
        return sample

    def _generation(
        self, prompt: str, sample: GrowingSample, logprob: float | None, seed: int | None, score: float | None = None
    ) -> Generation:
        tokens = tuple(self.codec.vocabulary.tokens[index] for index in sample.ids)
        text = self.codec.decode(sample.sentence_ids)
        whole = self.codec.decode([*prompt_ids(self.codec, prompt), *sample.sentence_ids])
        return Generation(prompt, text, tokens, logprob, seed, whole, sample.end, score)


def sampling_options(
    options: SamplingOptions | None, temperature: float, top_k: int | None, top_p: float | None
) -> SamplingOptions:
    """The options, or those that three keywords stand for. Raises UsageError where both are given."""
    short = SamplingOptions(temperature, top_k, top_p)
    if options is None:
        return short
    if short != SamplingOptions():
        raise UsageError("temperature, top_k and top_p: pass these inside `options`")
    return options


def prompt_ids(codec: Codec, prompt: str) -> list[int]:
    """Ids of a prompt. Raises InputError naming a token that the vocabulary lacks."""
    ids, unknown = codec.text_ids(prompt)
    if unknown:
        named = ", ".join(map(repr, unknown))
        raise InputError(f"the prompt has words that the model does not know: {named}; write others")
    return ids


def token_ids(vocabulary: Vocabulary, tokens: Iterable[str]) -> tuple[int, ...]:
    """Ids of tokens as the vocabulary spells them, ``<unk>`` and ``<eos>`` too. Raises UsageError for other tokens."""
    tokens = list(tokens)
    if strange := [token for token in tokens if token not in vocabulary.ids]:
        raise UsageError(
            f"{', '.join(map(repr, strange))}: not in the model's vocabulary, so never drawn; leave it out"
        )
    return tuple(vocabulary.ids[token] for token in tokens)
