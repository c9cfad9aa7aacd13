"""A trained model from Python: load it, measure texts, score sentences, generate.

import recurlm
model = recurlm.load("runs/ptb")
model.perplexity("text.txt").value
model.score(["a sentence"])[0].logprob
model.generate("the", tokens=20, temperature=0.8, seed=1)
"""

import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, Unpack

from torch import Tensor

from recurlm.config import Recipe
from recurlm.devices import resolve_precision
from recurlm.errors import InputError, RecurlmWarning, UsageError
from recurlm.evaluation.adaptation import (
    TUNING_TOKENS,
    Adaptation,
    Adapted,
    TuningText,
    adapted_perplexity,
    gathered_roots,
    refuse_test,
    tune_adaptation,
)
from recurlm.evaluation.dynamic import DynamicRMS
from recurlm.evaluation.perplexity import Perplexity, Tick
from recurlm.evaluation.protocols import ProtocolOptions, given_buckets, perplexity
from recurlm.generation.beam_search import BeamOptions, beam_search
from recurlm.generation.endings import Ending, GrowingSample, GrowingText, collect
from recurlm.generation.sampling import SamplingOptions, check_samples_fit, prompt_logprob, sample, summed_logprobs
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State, check_state, initial_state, model_digest, read
from recurlm.rescoring.combination import Combination
from recurlm.rescoring.nbest import NBestList
from recurlm.rescoring.rescorer import RescoredList, rescore
from recurlm.runs.opening import open_model
from recurlm.scoring.scorer import Scorer, ScoringOptions
from recurlm.scoring.scores import LineScore
from recurlm.text.codec import Codec, EncodedText
from recurlm.text.corpora import open_part
from recurlm.text.places import DataPlaces, FormerPlaces, given_places
from recurlm.text.recorded import RecordedCorpus
from recurlm.text.sources import Text
from recurlm.text.unknown import UnknownRule
from recurlm.text.vocabulary import EOS, EOS_ID

_Options = TypeVar("_Options", SamplingOptions, BeamOptions)
UNTIL_LAST_TOKEN = Ending()
SEEN = "training"
"""What a signature says of a text that the model learned from."""


@dataclass(frozen=True)
class Generation:
    """A continuation of a prompt: its text, its tokens and their summed natural log-probability, and the whole text.

    logprob is what `score` gives the tokens, whatever they were drawn by; None where it was not asked for · end: what
    ended it, ``tokens`` when it had as many as asked for, ``eos`` (which is the last of its tokens, but not of its
    text) or ``stop`` · seed: None, and score what it is ranked by, where it was searched and not drawn.
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


class Model:
    """A trained recurrent language model with its vocabulary."""

    def __init__(
        self, network: LanguageModel, codec: Codec, recipe: Recipe, corpus: RecordedCorpus | None = None
    ) -> None:
        """`corpus` is what the model learned from, where that is known."""
        self.network, self.codec, self.recipe, self.corpus = network, codec, recipe, corpus

    def perplexity(
        self,
        text: str | Path | None = None,
        *,
        split: str | None = None,
        protocol: str = "stream",
        full_batches: int | None = None,
        oov: str = "unk",
        places: DataPlaces | None = None,
        tick: Tick | None = None,
        **former: Unpack[FormerPlaces],
    ) -> Perplexity:
        """Perplexity of a file, a corpus by name, or without `text` of the corpus the model learned from.

        A corpus is measured on its test split unless `split` says otherwise; a file is measured whole unless
        `split` asks for the part that training would hold out. `oov` says what unknown tokens count: unk, skip,
        floor:LOGPROB or share:N (see `UnknownRule`). Raises InputError for a text that cannot be read or, where the
        vocabulary has no ``<unk>`` and the rule needs it, holds an unknown token; CorruptFileError where the corpus
        that the model learned from was altered. A text that the model learned from gives a RecurlmWarning and is
        marked in the signature.
        """
        rule = UnknownRule.parse(oov)
        measured = self._text(text, split, given_places(places, former))
        result = perplexity(
            self.network,
            self.codec.encode(measured, rule),
            protocol,
            ProtocolOptions(buckets=given_buckets(self.recipe.batches), full_batches=full_batches),
            tick=tick,
        )
        return result.seen_by(SEEN) if self.learned_from(measured) else result

    def adapt(
        self,
        text: str | Path | None,
        options: Adaptation,
        *,
        split: str | None = None,
        tune_on: str | None = None,
        tuning_tokens: int = TUNING_TOKENS,
        places: DataPlaces | None = None,
        tick: Tick | None = None,
        **former: Unpack[FormerPlaces],
    ) -> Adapted:
        """The perplexity with adaptation at test time, beside the static one, of the texts that `perplexity` takes.

        With `tune_on` the options are chosen by the first tokens of that split of the corpus the model learned from.
        Raises UsageError where that split is named test.
        """
        places = given_places(places, former)
        if tune_on is not None:
            refuse_test(tune_on)
        roots = None
        if isinstance(options, DynamicRMS):
            roots = gathered_roots(self.network, self._encoded("train", places), options, tick=tick)
        tuning = None
        if tune_on is not None:
            chosen_by = TuningText(self._encoded(tune_on, places), tune_on, tuning_tokens)
            tuning = tune_adaptation(self.network, chosen_by, options, roots=roots, tick=tick)
            options = tuning.best
        measured = self._text(text, split, places)
        encoded = self.codec.encode(measured)
        result = adapted_perplexity(self.network, encoded, options, roots=roots, tuning=tuning, tick=tick)
        if self.learned_from(measured):
            return replace(result, static=result.static.seen_by(SEEN), adapted=result.adapted.seen_by(SEEN))
        return result

    def learned_from(self, text: Text) -> bool:
        """Whether the model learned from a text or from a part of it, which then gives a RecurlmWarning."""
        learned = self.corpus is not None and self.corpus.learned_from(text)
        if learned:
            warnings.warn(
                f"the model learned from {text.name} or a part of it: figures on it say nothing about new text",
                RecurlmWarning,
                stacklevel=3,
            )
        return learned

    def _encoded(self, split: str, places: DataPlaces) -> EncodedText:
        """A split of the corpus that the model learned from."""
        return self.codec.encode(self._text(None, split, places))

    def _text(self, text: str | Path | None, split: str | None, places: DataPlaces) -> Text:
        if text is None:
            if self.corpus is None:
                raise InputError("name a text: this model does not say which corpus it learned from")
            return self.corpus.part(split or "test", places)
        measured = open_part(str(text), split, places)
        self.warn_if_altered(measured, str(text), stacklevel=4)
        return measured

    def warn_if_altered(self, text: Text, specification: str = "", *, stacklevel: int = 2) -> None:
        """Give a RecurlmWarning where a text is the one that the model learned from, but no longer as it was."""
        altered = None if self.corpus is None else self.corpus.altered(text, specification)
        if altered is not None:
            warnings.warn(altered, RecurlmWarning, stacklevel=stacklevel)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of weights and vocabulary."""
        return model_digest(self.network, self.codec.vocabulary)

    def read(self, text: str, *, state: State | None = None) -> State:
        """The state after this text, from the start or from another state on; a line feed in it is ``<eos>``.

        Raises InputError for a token that the vocabulary lacks where it has no ``<unk>``, and for a state of another
        model.
        """
        ids, _ = self._ids(text)
        return self._read(ids, state)

    def score(
        self, lines: Iterable[str], *, state: State | None = None, options: ScoringOptions | None = None
    ) -> list[LineScore]:
        """Log-probability of every token of every line, each line alone unless the options carry the state on."""
        return list(self.score_lines(lines, state=state, options=options))

    def score_lines(
        self, lines: Iterable[str], *, state: State | None = None, options: ScoringOptions | None = None
    ) -> Iterator[LineScore]:
        """The same for any number of lines, one after another."""
        return self.scorer(state=state, options=options).lines(lines)

    def scorer(self, *, state: State | None = None, options: ScoringOptions | None = None) -> Scorer:
        """What scores lines, sums them up, and knows the state after them; `state` is where they start.

        Raises InputError for a state of another model.
        """
        options = options or ScoringOptions()
        options = replace(options, precision=resolve_precision(options.precision, self.network.device))
        return Scorer(self.network, self.codec, options, state, self.digest)

    def _read(self, ids: Sequence[int], state: State | None) -> State:
        return read(self.network, ids, self._checked(state) or initial_state(self.network, self.digest))

    def _checked(self, state: State | None) -> State | None:
        """The state itself; the digest is costly, so it is asked for only where there is one."""
        if state is not None:
            check_state(state, self.network, self.digest)
        return state

    def _ids(self, text: str) -> tuple[list[int], list[str]]:
        """Ids of a text in which a line feed is ``<eos>``, and the tokens that the vocabulary lacks."""
        ids: list[int] = []
        unknown: list[str] = []
        for line in text.split("\n"):
            encoded, tokens, missing = self.codec.line(line)
            ids += [*encoded, EOS_ID]
            unknown += itertools.compress(tokens, missing)
        return ids[:-1], unknown

    def rescore(
        self, lists: Iterable[NBestList], combination: Combination, *, carry: bool = False, oov: str = "unk"
    ) -> Iterator[RescoredList]:
        """N-best lists with their scores, one after another; with `carry` in the state after the best ones before."""
        return rescore(self.network, self.codec, lists, combination, carry=carry, rule=UnknownRule.parse(oov))

    def generate(
        self,
        prompt: str = "",
        *,
        tokens: int = 50,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        options: SamplingOptions | None = None,
        ending: Ending = UNTIL_LAST_TOKEN,
        state: State | None = None,
        allow_unk: bool = False,
    ) -> Generation:
        """One sample of at most `tokens` tokens that continues `prompt`; see `generate_many`."""
        options = _sampling_options(options, temperature, top_k, top_p)
        return self.generate_many(
            prompt,
            count=1,
            tokens=tokens,
            seed=seed,
            options=options,
            ending=ending,
            state=state,
            allow_unk=allow_unk,
        )[0]

    def generate_many(
        self,
        prompt: str = "",
        *,
        count: int,
        tokens: int = 50,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        options: SamplingOptions | None = None,
        ending: Ending = UNTIL_LAST_TOKEN,
        logprobs: bool = True,
        state: State | None = None,
        allow_unk: bool = False,
    ) -> list[Generation]:
        """`count` samples at once in one batch; without `logprobs` their log-probabilities are not computed.

        `options` holds all there is to say on drawing; temperature, top_k and top_p are short for it. `state` is
        what the model has read before the prompt. A sample that has ended does not change the others. ``<unk>`` is
        drawn only with `allow_unk`. Raises UsageError for options that cannot be carried out, InputError for a prompt
        with a token that the vocabulary lacks, and for a state of another model.
        """
        options = self._drawable(_sampling_options(options, temperature, top_k, top_p), allow_unk)
        check_samples_fit(count, tokens, self.network.vocabulary_size)
        draws = itertools.islice(self._sample(prompt, options, ending, count, seed, state), tokens)
        samples = collect(draws, count, self.codec, ending)
        rows = [sample.ids for sample in samples]
        summed: Sequence[float | None] = [None] * count
        if logprobs:
            summed = summed_logprobs(self.network, self.prompt_ids(prompt), rows, state)
        return [
            self._generation(prompt, sample, logprob, seed) for sample, logprob in zip(samples, summed, strict=True)
        ]

    def stream(
        self,
        prompt: str,
        options: SamplingOptions,
        *,
        tokens: int,
        seed: int,
        ending: Ending = UNTIL_LAST_TOKEN,
        state: State | None = None,
        allow_unk: bool = False,
    ) -> Iterator[str]:
        """The prompt and then the sample piece by piece as it is drawn; together the pieces are the whole text."""
        options = self._drawable(options, allow_unk)
        ids = self.prompt_ids(prompt)
        yield self.codec.decode(ids)
        sample, text, shown = GrowingSample(self.codec, ending), GrowingText(self.codec, ids), 0
        for drawn in itertools.islice(self._sample(prompt, options, ending, 1, seed, state), tokens):
            sample.add(int(drawn[0]))
            if sample.has_ended:
                break
            settled = sample.settled
            yield "".join(map(text.add, sample.ids[shown:settled]))
            shown = max(shown, settled)
        yield "".join(map(text.add, sample.sentence_ids[shown:])) + text.rest()

    def _drawable(self, options: _Options, allow_unk: bool) -> _Options:
        """The options with ``<unk>`` banned, unless it is allowed."""
        if allow_unk:
            return options
        return replace(options, banned=tuple({*options.banned, *self.codec.vocabulary.placeholders}))

    def _sample(
        self, prompt: str, options: SamplingOptions, ending: Ending, count: int, seed: int, state: State | None
    ) -> Iterator[Tensor]:
        if ending.at_eos and EOS_ID in options.banned:
            raise UsageError(f"{EOS} is banned, so no sample can end with it; leave out one of the two")
        return sample(
            self.network, self.prompt_ids(prompt), options, count=count, seed=seed, start=self._checked(state)
        )

    def state_after(self, generation: Generation, *, state: State | None = None) -> State:
        """The state after a prompt and its continuation, which went on from `state`."""
        ids = [*self.prompt_ids(generation.prompt), *self.token_ids(generation.tokens)]
        return self._read(ids, state)

    def beam_search(
        self,
        prompt: str = "",
        *,
        options: BeamOptions,
        count: int = 1,
        tokens: int = 50,
        state: State | None = None,
        allow_unk: bool = False,
    ) -> list[Generation]:
        """The best continuations of `prompt` that a beam finds, best first, each to ``<eos>`` or `tokens` tokens.

        ``<unk>`` is among their tokens only with `allow_unk`. Raises UsageError where more are asked for than the beam
        is wide, InputError for a state of another model.
        """
        options = self._drawable(options, allow_unk)
        found = beam_search(
            self.network, self.prompt_ids(prompt), options, tokens=tokens, count=count, start=self._checked(state)
        )
        return [self._generation(prompt, self._ended(each.ids), each.logprob, None, each.score) for each in found]

    def _ended(self, ids: Iterable[int]) -> GrowingSample:
        """A continuation that goes on to its ``<eos>``, if it has one."""
        sample = GrowingSample(self.codec, Ending(at_eos=True))
        for index in ids:
            sample.add(index)
        return sample

    def token_ids(self, tokens: Iterable[str]) -> tuple[int, ...]:
        """Ids of tokens as they stand in the vocabulary, ``<unk>`` and ``<eos>`` too. Raises UsageError for others."""
        ids = self.codec.vocabulary.ids
        tokens = list(tokens)
        if strange := [token for token in tokens if token not in ids]:
            raise UsageError(
                f"{', '.join(map(repr, strange))}: not in the model's vocabulary, so never drawn; leave it out"
            )
        return tuple(ids[token] for token in tokens)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Ids of a prompt. Raises InputError naming a token that the vocabulary lacks."""
        ids, unknown = self._ids(prompt)
        if unknown:
            named = ", ".join(map(repr, unknown))
            raise InputError(f"the prompt has words that the model does not know: {named}; write others")
        return ids

    def prompt_logprob(self, prompt: str) -> float:
        """Natural log-probability of a prompt after ``<eos>``."""
        return prompt_logprob(self.network, self.prompt_ids(prompt))

    def _generation(
        self, prompt: str, sample: GrowingSample, logprob: float | None, seed: int | None, score: float | None = None
    ) -> Generation:
        tokens = tuple(self.codec.vocabulary.tokens[index] for index in sample.ids)
        text = self.codec.decode(sample.sentence_ids)
        whole = self.codec.decode([*self.prompt_ids(prompt), *sample.sentence_ids])
        return Generation(prompt, text, tokens, logprob, seed, whole, sample.end, score)


def _sampling_options(
    options: SamplingOptions | None, temperature: float, top_k: int | None, top_p: float | None
) -> SamplingOptions:
    short = SamplingOptions(temperature, top_k, top_p)
    if options is None:
        return short
    if short != SamplingOptions():
        raise UsageError("temperature, top_k and top_p belong into the options where options are given")
    return options


def load(path: str | Path, *, device: str = "cpu") -> Model:
    """The model of a run folder, every file held to its manifest.

    Raises InputError where there is no run, CorruptFileError where a file was altered.
    """
    opened = open_model(path, device)
    return Model(opened.network, opened.codec, opened.recipe, opened.corpus)
