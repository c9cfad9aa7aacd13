"""A trained model from Python: load it, measure texts, score sentences, generate.

import recurlm
model = recurlm.load("runs/ptb")
model.perplexity("text.txt").value
model.score(["a sentence"])[0].logprob
model.generate("the", tokens=20, temperature=0.8, seed=1)

A method imports the room that does its job, so a program loads only what it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from recurlm.distributed import ALONE, Team
from recurlm.errors import InputError, UsageError
from recurlm.interface.former_keywords import takes_former_keywords, warn
from recurlm.markup import table
from recurlm.models.memory import check_state, initial_state, model_digest, state_after
from recurlm.runs.opening import open_model
from recurlm.terminal import escaped
from recurlm.text.corpora import open_part
from recurlm.text.places import DataPlaces
from recurlm.text.unknown import AS_UNK

if TYPE_CHECKING:
    from recurlm.config import Recipe
    from recurlm.evaluation.adaptation import Adaptation, Adapted
    from recurlm.evaluation.dynamic import Roots
    from recurlm.evaluation.perplexity import Perplexity, Tick
    from recurlm.generation.beam_search import BeamOptions
    from recurlm.generation.endings import Ending
    from recurlm.generation.sampling import SamplingOptions
    from recurlm.generation.text_generator import Generation, TextGenerator
    from recurlm.inspection.subject import Subject
    from recurlm.models.language_model import LanguageModel
    from recurlm.models.memory import State
    from recurlm.rescoring.combination import Combination
    from recurlm.rescoring.nbest import NBestList
    from recurlm.rescoring.rescorer import RescoredList
    from recurlm.scoring.scorer import Scorer, ScoringOptions
    from recurlm.scoring.scores import LineScore, Scores
    from recurlm.text.codec import Codec, EncodedText
    from recurlm.text.recorded import RecordedCorpus
    from recurlm.text.sources import Text
    from recurlm.text.unknown import UnknownRule

SEEN = "training"
"""What a signature says of a text that the model learned from."""


class Model:
    """A trained recurrent language model with its vocabulary."""

    def __init__(
        self, network: LanguageModel, codec: Codec, recipe: Recipe, corpus: RecordedCorpus | None = None
    ) -> None:
        """`corpus` is what the model learned from, where that is known."""
        self.network, self.codec, self.recipe, self.corpus = network, codec, recipe, corpus

    def __repr__(self) -> str:
        from recurlm.interface.facts import facts

        return escaped(f"Model({', '.join(f'{name} {fact}' for name, fact in facts(self))})")

    def _repr_html_(self) -> str:
        from recurlm.interface.facts import facts

        return table([("model", ""), *facts(self)])

    @takes_former_keywords
    def perplexity(
        self,
        source: str | Path | None = None,
        *,
        split: str | None = None,
        protocol: str = "stream",
        columns: int = 1,
        full_batches: int | None = None,
        oov: str = "unk",
        places: DataPlaces | None = None,
        tick: Tick | None = None,
        team: Team = ALONE,
    ) -> Perplexity:
        """Perplexity of a file, of a corpus by name, or without `source` of the corpus the model learned from.

        A corpus is measured on its test split unless `split` names another; a file is measured whole unless
        `split` asks for the part that training would hold out. With `columns` a stream is read as a validation reads
        it. A `team` of processes calls this together. `oov` says what unknown tokens count: unk, skip, floor:LOGPROB or
        share:N (see `UnknownRule`). Without `places` the environment says where corpora lie. Each choice is a keyword.
        Raises InputError for a text that cannot be read or, where the vocabulary has no ``<unk>`` and the rule needs
        it, holds an unknown token; CorruptFileError where the corpus that the model learned from was altered. A text
        that the model learned from gives a RecurlmWarning and is marked in the signature.
        """
        from recurlm.evaluation.protocols import ProtocolOptions, given_buckets, perplexity
        from recurlm.text.unknown import UnknownRule

        rule, warm_up = UnknownRule.parse(oov), self.recipe.validation.warm_up
        options = ProtocolOptions(columns, warm_up, given_buckets(self.recipe.batches), full_batches, team)
        with team.first_before_others():  # the first process downloads
            text = self._open(source, split, places)
        with team.in_own_time():
            encoded = self._encode(text, rule)
        result = perplexity(self.network, encoded, protocol, options, tick=tick)
        return result.seen_by(SEEN) if self.learned_from(text, source) else result

    @takes_former_keywords
    def adapt(
        self,
        source: str | Path | None,
        options: Adaptation,
        *,
        split: str | None = None,
        tune_on: str | None = None,
        tuning_tokens: int | None = None,
        places: DataPlaces | None = None,
        tick: Tick | None = None,
    ) -> Adapted:
        """Perplexity with adaptation at test time, beside the static one, of the texts that `perplexity` takes.

        With `tune_on` the options are chosen by the first tokens (`TUNING_TOKENS` of them, unless `tuning_tokens`
        says how many) of that split of the corpus the model learned from. Each choice is a keyword. Raises UsageError
        where that split is named test.
        """
        from recurlm.evaluation.adaptation import TUNING_TOKENS, TuningText, refuse_test
        from recurlm.evaluation.adaptation import adapted_perplexity as measure
        from recurlm.evaluation.adaptation import tune_adaptation as tune

        if tune_on is not None:
            refuse_test(tune_on)
        roots, tuning = self._gathered_roots(options, places, tick), None
        if tune_on is not None:
            chosen_by = TuningText(self._encoded(tune_on, places), tune_on, tuning_tokens or TUNING_TOKENS)
            tuning = tune(self.network, chosen_by, options, roots=roots, tick=tick)
            options = tuning.best
        text = self._open(source, split, places)
        result = measure(self.network, self._encode(text), options, roots=roots, tuning=tuning, tick=tick)
        if self.learned_from(text, source):
            return replace(result, static=result.static.seen_by(SEEN), adapted=result.adapted.seen_by(SEEN))
        return result

    def _gathered_roots(self, options: Adaptation, places: DataPlaces | None, tick: Tick | None) -> Roots | None:
        """The root mean squares of gradients on the training text, which dynamic-rms alone needs."""
        from recurlm.evaluation.adaptation import gathered_roots
        from recurlm.evaluation.dynamic import DynamicRMS

        if not isinstance(options, DynamicRMS):
            return None
        return gathered_roots(self.network, self._encoded("train", places), options, tick=tick)

    def learned_from(self, text: Text, given: str | Path | None = None) -> bool:
        """Whether the model learned from a text (the file `given`) or a part of it, which gives a RecurlmWarning."""
        learned = self.corpus is not None and self.corpus.learned_from(text)
        if learned:
            place = given if given is not None and Path(given).is_file() else text.place
            remark = f"the model learned from {place} or a part of it: figures on it say nothing about new text"
            warn(remark, stacklevel=5)
        return learned

    def warn_if_altered(self, text: Text, specification: str = "", *, stacklevel: int = 3) -> None:
        """Give a RecurlmWarning where a text is the one that the model learned from, but no longer as it was."""
        altered = None if self.corpus is None else self.corpus.altered(text, specification)
        if altered is not None:
            warn(altered, stacklevel=stacklevel)

    def _encoded(self, split: str, places: DataPlaces | None) -> EncodedText:
        """A split of the corpus that the model learned from."""
        return self._encode(self._open(None, split, places))

    def _encode(self, text: Text, rule: UnknownRule = AS_UNK) -> EncodedText:
        return self.codec.encode(text, rule, self.recipe.text.document)

    def _open(self, source: str | Path | None, split: str | None, places: DataPlaces | None) -> Text:
        if source is None:
            if self.corpus is None:
                raise InputError("name a text: this model does not say which corpus it learned from")
            return self.corpus.part(split or "test", places)
        text = open_part(str(source), split, places)
        self.warn_if_altered(text, str(source), stacklevel=6)
        return text

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of weights and vocabulary."""
        return model_digest(self.network, self.codec.vocabulary)

    def read(self, text: str, *, state: State | None = None) -> State:
        """The state after this text, from the start or from another state on; a line feed in it is ``<eos>``.

        Raises InputError for a token that the vocabulary lacks where it has no ``<unk>``, and for a state of another
        model.
        """
        return self._read(self.codec.text_ids(text)[0], state)

    def _read(self, ids: list[int], state: State | None) -> State:
        return state_after(self.network, ids, self._checked(state) or initial_state(self.network, self.digest))

    def _checked(self, state: State | None) -> State | None:
        """The state itself; the digest is costly, so it is computed only where there is a state."""
        if state is not None:
            check_state(state, self.network, self.digest)
        return state

    def score(
        self, lines: Iterable[str], *, state: State | None = None, options: ScoringOptions | None = None
    ) -> Scores:
        """Log-probability of every token of every line, each line alone unless the options carry the state on.

        The result is a list of `LineScore`; a notebook shows it as a heat map, and `to_pandas` makes a table of it.
        """
        from recurlm.scoring.scores import Scores

        return Scores(self.score_lines(lines, state=state, options=options), self.codec.tokenization)

    def score_lines(
        self, lines: Iterable[str], *, state: State | None = None, options: ScoringOptions | None = None
    ) -> Iterator[LineScore]:
        """The scores that `score` gives, one line after another, for any number of lines.

        Raises UsageError for a string, whose characters would count as lines.
        """
        if isinstance(lines, str):
            raise UsageError("score() takes a list of lines, not one string: write [text], or text.splitlines()")
        return self.scorer(state=state, options=options).lines(lines)

    def scorer(self, *, state: State | None = None, options: ScoringOptions | None = None) -> Scorer:
        """A scorer, which scores lines, sums them up and knows the state after them; `state` is where they start.

        Raises InputError for a state of another model.
        """
        from recurlm.devices import resolve_precision
        from recurlm.scoring.scorer import Scorer, ScoringOptions

        options = options or ScoringOptions()
        options = replace(options, precision=resolve_precision(options.precision, self.network.device))
        return Scorer(self.network, self.codec, options, state, self.digest)

    def inspect(self, text: str, *, name: str = "model", tick: Callable[[int], None] | None = None) -> Subject:
        """A text as the model reads it; its `trace` is the memory after each token.

        `name` is the model's in answers; `tick` hears of each token that is read, and may raise to end the work. Raises
        InputError for a text that is empty or too long.
        """
        from recurlm.inspection.reading import lines_of, read_text
        from recurlm.inspection.subject import Subject

        return Subject(name, self.network, self.codec, read_text(self.codec, lines_of(text), "text"), tick=tick)

    def rescore(
        self, lists: Iterable[NBestList], combination: Combination, *, carry: bool = False, oov: str = "unk"
    ) -> Iterator[RescoredList]:
        """N-best lists with their scores, one after another; with `carry` each is read after the best ones before."""
        from recurlm.rescoring.rescorer import rescore
        from recurlm.text.unknown import UnknownRule

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
        ending: Ending | None = None,
        state: State | None = None,
        allow_unk: bool = False,
    ) -> Generation:
        """One sample of at most `tokens` tokens that continues `prompt`; the keywords are those of `generate_many`."""
        samples = self.generate_many(
            prompt,
            count=1,
            tokens=tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            options=options,
            ending=ending,
            state=state,
            allow_unk=allow_unk,
        )
        return samples[0]

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
        ending: Ending | None = None,
        logprobs: bool = True,
        state: State | None = None,
        allow_unk: bool = False,
    ) -> list[Generation]:
        """`count` samples in one batch; without `logprobs` their log-probabilities are not computed.

        `options` says how tokens are drawn; temperature, top_k and top_p are short for it. Without `ending` a sample
        ends after `tokens` tokens. `state` is what the model has read before the prompt. ``<unk>`` is drawn only with
        `allow_unk`. Each choice is a keyword. Raises UsageError for options that cannot be carried out, InputError for
        a prompt with a token that the vocabulary lacks, and for a state of another model.
        """
        from recurlm.generation.endings import Ending
        from recurlm.generation.text_generator import sampling_options

        options = sampling_options(options, temperature, top_k, top_p)
        generator = self._generator(state, allow_unk)
        return generator.samples(
            prompt, options, ending or Ending(), count=count, tokens=tokens, seed=seed, logprobs=logprobs
        )

    def stream(
        self,
        prompt: str,
        options: SamplingOptions,
        *,
        tokens: int,
        seed: int,
        ending: Ending | None = None,
        state: State | None = None,
        allow_unk: bool = False,
    ) -> Iterator[str]:
        """The prompt and then the sample piece by piece as it is drawn; the pieces join to the whole text.

        Each choice is a keyword, as in `generate`.
        """
        from recurlm.generation.endings import Ending

        generator = self._generator(state, allow_unk)
        return generator.stream(prompt, options, ending or Ending(), tokens=tokens, seed=seed)

    def _generator(self, state: State | None, allow_unk: bool) -> TextGenerator:
        """Continues texts from this state. Raises InputError for a state of another model."""
        from recurlm.generation.text_generator import TextGenerator

        return TextGenerator(self.network, self.codec, self._checked(state), allow_unk)

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

        ``<unk>`` is among their tokens only with `allow_unk`. Raises UsageError where `count` is larger than the beam
        is wide, InputError for a state of another model.
        """
        generator = self._generator(state, allow_unk)
        return generator.best(prompt, options, count=count, tokens=tokens)

    def state_after(self, generation: Generation, *, state: State | None = None) -> State:
        """The state after a prompt and its continuation; `state` is what the model had read before the prompt."""
        ids = [*self.prompt_ids(generation.prompt), *self.token_ids(generation.tokens)]
        return self._read(ids, state)

    def token_ids(self, tokens: Iterable[str]) -> tuple[int, ...]:
        """Ids of tokens as the vocabulary spells them, ``<unk>`` and ``<eos>`` too. Raises UsageError for others."""
        from recurlm.generation.text_generator import token_ids

        return token_ids(self.codec.vocabulary, tokens)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Ids of a prompt. Raises InputError naming a token that the vocabulary lacks."""
        from recurlm.generation.text_generator import prompt_ids

        return prompt_ids(self.codec, prompt)

    def prompt_logprob(self, prompt: str) -> float:
        """Natural log-probability of a prompt after ``<eos>``."""
        from recurlm.generation.sampling import prompt_logprob

        return prompt_logprob(self.network, self.prompt_ids(prompt))


def load(path: str | Path, *, device: str = "cpu") -> Model:
    """The model of a run folder, every file held to its manifest.

    Raises InputError where there is no run, CorruptFileError where a file was altered.
    """
    opened = open_model(path, device)
    return Model(opened.network, opened.codec, opened.recipe, opened.corpus)
