"""A request for texts as jobs of the engine."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from recurlm.errors import UsageError
from recurlm.generation.endings import Ending
from recurlm.generation.sampling import SamplingOptions, check_banned
from recurlm.models.memory import initial_state
from recurlm.serving.bodies.completions import CompletionRequest, SamplingRequest
from recurlm.serving.errors import RequestError
from recurlm.serving.jobs import Job
from recurlm.serving.models import ServedModel
from recurlm.serving.options import ServerOptions
from recurlm.serving.prompts import Prompt, read_prompt
from recurlm.text.codec import Codec
from recurlm.text.vocabulary import EOS, EOS_ID

USUAL_TOKENS = 16
"""OpenAI's default of `max_tokens`."""
SEEDS = 2**63


@dataclass(frozen=True)
class Plan:
    """What a request asks for: prompts, each with the same number of jobs, and how the answer tells them.

    per_prompt: jobs of each prompt · logprobs: number of likeliest tokens told beside each; None tells nothing.
    """

    prompts: tuple[Prompt, ...]
    jobs: tuple[Job, ...]
    per_prompt: int
    ending: Ending
    echo: bool
    logprobs: int | None

    @property
    def scores_prompts(self) -> bool:
        """Whether the answer holds log-probabilities of the prompts."""
        return self.echo and self.logprobs is not None

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of all prompts."""
        return sum(len(prompt.whole) for prompt in self.prompts)

    def prompt(self, job: int) -> Prompt:
        """The prompt of the job of this number."""
        return self.prompts[job // self.per_prompt]


def plan(body: CompletionRequest, served: ServedModel, options: ServerOptions) -> Plan:
    """The jobs that a request asks for. Raises RequestError and UsageError for what cannot be done."""
    _refuse_unsupported(body)
    tokens, count = USUAL_TOKENS if body.max_tokens is None else body.max_tokens, body.n or 1
    check_most(tokens, options.tokens, "max_tokens")
    check_most(body.logprobs or 0, options.logprobs, "logprobs")
    texts = count * len(body.prompt)
    check_most(texts, options.choices, "n", "texts, prompts times n")
    check_most(texts * tokens, options.drawn, "max_tokens", "tokens in all texts")
    check_told(texts * tokens, body.logprobs or 0, options, "logprobs")
    ending = ending_of(body.stop, body.until_eos or False, options)
    sampling = sampling_of(body, served, ending)
    scores = bool(body.echo) and body.logprobs is not None
    prompts = tuple(read_prompt(served.model.codec, given, allow_unknown=scores) for given in body.prompt)
    read = sum(len(prompt.ids) for prompt in prompts)
    check_most(read, options.prompt_tokens, "prompt", "tokens")
    check_told(count * read * scores, body.logprobs or 0, options, "logprobs")
    seed = secrets.randbelow(SEEDS) if body.seed is None else body.seed
    start = initial_state(served.model.network, served.model.digest)
    jobs = [
        Job(start, prompt.ids, tokens, sampling, ending, (seed + number) % SEEDS, body.logprobs)
        for prompt in prompts
        for number in range(count)
    ]
    return Plan(prompts, tuple(jobs), count, ending, bool(body.echo), body.logprobs)


def check_most(value: int, most: int, param: str, what: str = "") -> None:
    """Raises RequestError where a number is above the server's limit."""
    if value > most:
        asked = f"{value:,} {what}".strip()
        raise RequestError(400, f"{param}: {asked}: this server allows at most {most:,}", param=param, code="limit")


def check_told(tokens: int, likeliest: int, options: ServerOptions, param: str) -> None:
    """Raises RequestError where an answer would tell more likeliest tokens than the server's limit."""
    check_most(
        tokens * likeliest, options.told, param, f"likeliest tokens in one answer, {likeliest} beside each token"
    )


def ending_of(stop: str | Sequence[str] | None, until_eos: bool, options: ServerOptions) -> Ending:
    """What ends a text early; the stop text `<eos>` stands for the end of a sentence."""
    stops = [stop] if isinstance(stop, str) else list(stop or ())
    check_most(len(stops), options.stops, "stop", "texts")
    check_most(max(map(len, stops), default=0), options.stop_characters, "stop", "characters in one text")
    return Ending(tuple(each for each in stops if each != EOS), until_eos or EOS in stops)


def sampling_of(body: SamplingRequest, served: ServedModel, ending: Ending) -> SamplingOptions:
    """How tokens are drawn: never `<unk>` unless the request allows it."""
    codec = served.model.codec
    banned = {*banned_ids(codec, body.ban or ()), *(() if body.allow_unk else codec.vocabulary.placeholders)}
    if ending.at_eos and EOS_ID in banned:
        raise RequestError(400, f"ban: {EOS} is banned, so no text can end with it; leave out one", param="ban")
    check_banned(tuple(banned), len(codec.vocabulary))
    return SamplingOptions(
        1.0 if body.temperature is None else body.temperature,
        body.top_k,
        None if body.top_p == 1 else body.top_p,
        body.min_p,
        None if body.typical == 1 else body.typical,
        1.0 if body.repetition_penalty is None else body.repetition_penalty,
        tuple(sorted(banned)),
    )


def banned_ids(codec: Codec, tokens: Sequence[str]) -> list[int]:
    """Ids of tokens as the vocabulary spells them. Raises UsageError for others."""
    ids = codec.vocabulary.ids
    if strange := [token for token in tokens if token not in ids]:
        raise UsageError(f"ban: {strange[0]!r} is not in the model's vocabulary, so never drawn; leave it out")
    return [ids[token] for token in tokens]


def _refuse_unsupported(body: CompletionRequest) -> None:
    """Raises RequestError for OpenAI's fields that would change the result and that this server lacks."""
    refusals = {
        "best_of": (body.best_of not in (None, body.n or 1), "must equal n; this server ranks no texts"),
        "suffix": (bool(body.suffix), "a recurrent model reads from left to right; leave it out"),
        "presence_penalty": (bool(body.presence_penalty), "not supported; use repetition_penalty"),
        "frequency_penalty": (bool(body.frequency_penalty), "not supported; use repetition_penalty"),
        "logit_bias": (bool(body.logit_bias), "not supported; `ban` lists tokens that are never drawn"),
        "stream_options": (body.stream_options is not None and not body.stream, "belongs to stream=true"),
    }
    for name, (is_wrong, reason) in refusals.items():
        if is_wrong:
            raise RequestError(400, f"{name}: {reason}", param=name)
