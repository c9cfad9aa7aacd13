"""`recurlm generate`: samples, printed word by word."""

from typing import Annotated

import typer

from recurlm.cli.console import DeviceOption, JsonOption, RunArgument, print_json


def generate(
    run: RunArgument,
    prompt: Annotated[str, typer.Option("--prompt", help="How the text begins.")] = "",
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="How many tokens to draw.")] = 50,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="Above 1 more random, below less, 0 always the likeliest.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Draw from the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Draw from the likeliest tokens that reach this probability.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="How many samples, drawn side by side.")] = 1,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Repeats a sample. [default: another each time]")
    ] = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Draw text from a model."""
    import secrets

    from recurlm.devices import resolve_device
    from recurlm.evaluation.sampling import SamplingOptions
    from recurlm.interface import load

    model = load(run, device=resolve_device(device).type)
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    if count == 1 and not json:
        for piece in model.stream(prompt, SamplingOptions(temperature, top_k, top_p), tokens=tokens, seed=seed):
            print(piece, end="", flush=True)
        print()
        return
    samples = model.generate_many(
        prompt,
        count=count,
        tokens=tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        logprobs=json,
    )
    for number, sample in enumerate(samples):
        if json:
            print_json(sample.to_json())
        else:
            print(f"{sample}" if number == 0 else f"\n{sample}")
