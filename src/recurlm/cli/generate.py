"""`recurlm generate`: samples, printed word by word, or the best sentences that a beam finds."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Device
from recurlm.cli.console import (
    LARGEST_COUNT,
    LARGEST_SEED,
    MOST_AT_ONCE,
    MOST_TOKENS,
    DeviceOption,
    JsonOption,
    RunArgument,
    StateInOption,
    StateOutOption,
    message,
    print_json,
)
from recurlm.errors import UsageError

if TYPE_CHECKING:
    from recurlm.generation.text_generator import Generation


def generate(
    run: RunArgument,
    prompt: Annotated[str, typer.Option("--prompt", help="Text to continue.")] = "",
    tokens: Annotated[
        int, typer.Option("--tokens", min=1, max=MOST_TOKENS, help="Largest number of tokens to draw.")
    ] = 50,
    temperature: Annotated[
        float,
        typer.Option("--temperature", min=0, help="Above 1: more random; below 1: less; 0: always the likeliest."),
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, max=LARGEST_COUNT, help="Draw from the k likeliest tokens.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", help="Draw from the likeliest tokens that together reach this probability."),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option("--min-p", help="Draw from the tokens that are at least this share as likely as the likeliest."),
    ] = None,
    typical: Annotated[
        float | None,
        typer.Option(
            "--typical", help="Draw from the tokens of most expected surprisal that together reach this probability."
        ),
    ] = None,
    repetition_penalty: Annotated[
        float, typer.Option("--repetition-penalty", help="Above 1: tokens that have occurred become less likely.")
    ] = 1.0,
    ban: Annotated[
        list[str] | None,
        typer.Option("--ban", metavar="TOKEN", help="Never draw this token, such as '<eos>'; repeatable."),
    ] = None,
    allow_unk: Annotated[
        bool, typer.Option("--allow-unk", help="Also draw <unk>, which stands for all unknown words.")
    ] = False,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", metavar="TEXT", help="End before this text; repeatable.")
    ] = None,
    until_eos: Annotated[bool, typer.Option("--until-eos", help="End with the sentence.")] = False,
    beam: Annotated[
        int | None,
        typer.Option(
            "--beam",
            min=1,
            max=MOST_AT_ONCE,
            metavar="N",
            help="Draw nothing; search the likeliest sentences with a beam of N.",
        ),
    ] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option("--length-penalty", help="With --beam: above 0 favors longer sentences. [default: 0]"),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            "--count",
            min=1,
            max=MOST_AT_ONCE,
            help="Number of samples, or of best sentences of the beam.",
        ),
    ] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=LARGEST_SEED, help="Seed that repeats a sample. [default: another each time]"
        ),
    ] = None,
    state_in: StateInOption = None,
    state_out: StateOutOption = None,
    device: DeviceOption = Device.AUTO,
    as_json: JsonOption = False,
) -> None:
    """Draw text from a model, or search its likeliest sentences."""
    import secrets

    from recurlm.devices import resolve_device
    from recurlm.generation.beam_search import BeamOptions
    from recurlm.generation.endings import Ending
    from recurlm.generation.sampling import SamplingOptions
    from recurlm.interface.model import load
    from recurlm.models.memory import State
    from recurlm.text.vocabulary import UNK

    options = SamplingOptions(temperature, top_k, top_p, min_p, typical, repetition_penalty)
    ending = Ending(tuple(stop or ()), until_eos)
    draws = options != SamplingOptions() or ending != Ending() or seed is not None
    _check_beam(beam, length_penalty, draws)
    _check_state_out(state_out, count)
    model = load(run, device=resolve_device(device).type)
    state = None if state_in is None else State.load(state_in)
    banned = model.token_ids(ban or ())
    if allow_unk and set(banned) & set(model.codec.vocabulary.placeholders):
        raise UsageError(f"--allow-unk and --ban {UNK} contradict each other; leave out one of the two")
    options = dataclasses.replace(options, banned=banned)
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    if beam is not None:
        texts = model.beam_search(
            prompt,
            options=BeamOptions(beam, length_penalty or 0.0, banned),
            count=count,
            tokens=tokens,
            state=state,
            allow_unk=allow_unk,
        )
    elif count == 1 and not as_json and state_out is None:
        _print_pieces(
            model.stream(prompt, options, tokens=tokens, seed=seed, ending=ending, state=state, allow_unk=allow_unk)
        )
        return
    else:
        texts = model.generate_many(
            prompt,
            count=count,
            tokens=tokens,
            seed=seed,
            options=options,
            ending=ending,
            logprobs=as_json,
            state=state,
            allow_unk=allow_unk,
        )
    _print_all(texts, as_json, "" if until_eos or beam is not None else "\n")
    if len(texts) < count:
        message(f"only {len(texts)} of {count}: the beam found no more; widen it")
    if state_out is not None:
        model.state_after(texts[0], state=state).save(state_out)


def _check_beam(beam: int | None, length_penalty: float | None, draws: bool) -> None:
    """Raises UsageError where options of drawing and options of the beam are mixed."""
    if beam is not None and draws:
        raise UsageError(
            "--beam searches and draws nothing, and each of its texts ends with the sentence or at --tokens\n"
            "with it go --length-penalty, --ban, --allow-unk, --count, --tokens, --prompt; leave the other options out"
        )
    if beam is None and length_penalty is not None:
        raise UsageError("--length-penalty belongs to --beam N")


def _check_state_out(state_out: Path | None, count: int) -> None:
    from recurlm.files import check_output

    if state_out is None:
        return
    check_output(state_out)
    if count > 1:
        raise UsageError(f"--state-out keeps the state after one text, not after {count}; leave --count out")


def _print_pieces(pieces: Iterator[str]) -> None:
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def _print_all(samples: Sequence["Generation"], as_json: bool, between: str) -> None:
    """Sentences are one line each; texts that may have several lines are separated by an empty line."""
    for number, sample in enumerate(samples):
        if as_json:
            print_json(sample.to_json())
        else:
            print(f"{between if number else ''}{sample}")
