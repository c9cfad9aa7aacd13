"""`recurlm doctor`: what this machine offers, and a self-test of a few seconds."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurlm.cli.console import CacheDirectoryOption, DataDirectoryOption, JsonOption, print_json
from recurlm.errors import CorruptFileError, RecurlmError

if TYPE_CHECKING:
    import torch

    from recurlm.models.language_model import LanguageModel

FEATURES = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")
EXTRAS = {"tokenizers": "bpe", "tensorboard": "tensorboard"}
TOLERANCE = {"cpu": 1e-4, "cuda": 5e-3}
"""Largest relative difference; cuDNN multiplies with ten bits of mantissa (TF32)."""


def doctor(
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Versions, devices, processor features, fast paths, folders, and a self-test of a few seconds."""
    report: dict[str, Any] = {
        "versions": _versions(),
        "processor": _processor(),
        "devices": _devices(),
        "fast_paths": _fast_paths(),
        "extras": _extras(),
        "cache": _cache(cache_directory),
        "corpora": _corpora(data_directory, cache_directory),
        "self_test": _self_tests(),
    }
    if as_json:
        print_json(report)
    else:
        for name, line in _lines(report):
            print(f"{name:11} {line}")
    failed = [name for name, result in report["self_test"].items() if not result["passed"]]
    if failed:
        raise RecurlmError(f"the self-test failed on {', '.join(failed)}\nreinstall torch, or keep to another --device")


def _versions() -> dict[str, str]:
    import platform

    import numpy as np
    import torch

    from recurlm.version import VERSION

    return {
        "recurlm": VERSION,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _processor() -> dict[str, Any]:
    import platform

    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "name": _model_name() or capabilities.get("cpu_name") or platform.processor() or platform.machine(),
        "features": {feature: capabilities[feature] for feature in FEATURES if feature in capabilities},
        "vector_code": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def _model_name() -> str | None:
    """What Linux calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _devices() -> list[str]:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    cuda = [f"cuda:{index} {name}" for index, name in enumerate(names)]
    mps = ["mps (seen, but not used)"] if torch.backends.mps.is_available() else []
    return ["cpu", *cuda, *mps]


def _fast_paths() -> dict[str, bool]:
    import torch

    from recurlm.training.precision import bf16_is_fast

    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return {
        "onednn_lstm": onednn and bool(torch.backends.mkldnn.enabled),
        "mkl": mkl,
        "bf16": bf16_is_fast(),
        "cudnn": torch.cuda.is_available() and torch.backends.cudnn.enabled,
    }


def _extras() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for package in EXTRAS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _cache(directory: Path | None) -> dict[str, Any]:
    import os
    import shutil

    from recurlm.text.corpora import default_cache_directory

    folder = directory or default_cache_directory()
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return {"folder": str(folder), "writable": writable, "free_bytes": shutil.disk_usage(existing).free}


def _corpora(data_directory: Path | None, cache_directory: Path | None) -> dict[str, str]:
    """Name to yes, no, embedded, or what is wrong."""
    from recurlm.text.corpora import local_file, named_corpora

    found = {}
    for corpus in named_corpora().values():
        try:
            paths = [
                local_file(corpus, file, data_directory=data_directory, cache_directory=cache_directory)
                for file in corpus.files
            ]
        except CorruptFileError:
            found[corpus.name] = "altered"
        except RecurlmError as error:
            found[corpus.name] = str(error)
        else:
            found[corpus.name] = ("yes" if all(paths) else "no") if paths else "embedded"
    return found


def _self_tests() -> dict[str, dict[str, Any]]:
    """For each device: the fast path's largest relative difference, and the loss before and after a few steps."""
    import torch

    threads = torch.get_num_threads()
    # so little work is a thousand times slower when threads wait for each other on a busy machine
    torch.set_num_threads(1)
    try:
        return {device: _self_test(device) for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else []))}
    finally:
        torch.set_num_threads(threads)


def _self_test(name: str) -> dict[str, Any]:
    import time

    import torch

    device, start = torch.device(name), time.monotonic()
    try:
        difference = _largest_difference(device)
        before, after = _losses(device)
    except RuntimeError as error:
        # such as a CUDA build without code for this GPU
        return {"passed": False, "error": str(error).splitlines()[0]}
    return {
        "passed": difference < TOLERANCE[name] and after < before / 2,
        "largest_difference": _finite(difference),
        "loss_before": _finite(before),
        "loss_after": _finite(after),
        "seconds": round(time.monotonic() - start, 2),
    }


def _finite(value: float) -> float | None:
    import math

    return value if math.isfinite(value) else None


def _tiny_model(device: "torch.device") -> "LanguageModel":
    import torch

    from recurlm.config import ModelOptions, XavierInitialisation
    from recurlm.models.initialisation import initialise
    from recurlm.models.language_model import LanguageModel

    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LanguageModel(ModelOptions(embedding_size=32, hidden_sizes=(32, 32)), 20)
        initialise(model, XavierInitialisation())
    return model.to(device)


def _losses_of(model: "LanguageModel", tokens: "torch.Tensor") -> "torch.Tensor":
    """Mean loss in nats of tokens (T, B), each predicted from those before it."""
    import torch.nn.functional as F

    logits, _ = model(tokens[:-1], model.initial_state(tokens.shape[1]))
    return F.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())


def _cycle(device: "torch.device") -> "torch.Tensor":
    """Tokens (T, B) that count from 0 to 19 again and again, each column from another start."""
    import torch

    return (torch.arange(21, device=device)[:, None] + torch.arange(4, device=device)) % 20


def _largest_difference(device: "torch.device") -> float:
    """Between the library's LSTM and the equations step by step: the loss and every gradient, relative."""
    import torch

    results = []
    for fast in (True, False):
        model = _tiny_model(device)
        model.stack.fast = fast
        loss = _losses_of(model, _cycle(device))
        results.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    differences = [(a - b).abs().max() / b.abs().max().clamp(min=1e-12) for a, b in zip(*results, strict=True)]
    return float(torch.stack(differences).max())


def _losses(device: "torch.device") -> tuple[float, float]:
    """Loss before and after twenty steps on a text that repeats itself."""
    import torch

    model, tokens = _tiny_model(device), _cycle(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    values = []
    for _ in range(21):
        loss = _losses_of(model, tokens)
        values.append(loss.item())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return values[0], values[-1]


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The report for people: a name and a line each."""
    versions, processor, cache = report["versions"], report["processor"], report["cache"]
    for name in ("recurlm", "torch", "numpy"):
        yield name, versions[name]
    yield "Python", f"{versions['python']} on {versions['system']}"
    yield "processor", f"{processor['name']}, {processor['threads']} threads, vector code {processor['vector_code']}"
    if processor["features"]:
        yield "features", _yes_and_no(processor["features"])
    yield "devices", ", ".join(report["devices"])
    yield "fast paths", _yes_and_no(report["fast_paths"])
    for package, version in report["extras"].items():
        yield package, version or f"absent; pip install 'recurlm[{EXTRAS[package]}]' brings it"
    writable = "writable" if cache["writable"] else "NOT writable; choose another with --cache-dir or RECURLM_CACHE_DIR"
    yield "cache", f"{cache['folder']}, {writable}, {cache['free_bytes'] / 1e9:,.1f} GB free"
    for name, state in report["corpora"].items():
        yield "corpus", f"{name}: {state}"
    for device, result in report["self_test"].items():
        yield "self-test", f"{device}: {_verdict(result)}"


def _yes_and_no(values: dict[str, bool]) -> str:
    return ", ".join(f"{name} {'yes' if value else 'no'}" for name, value in values.items())


def _verdict(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"FAILED: {result['error']}"
    verdict = "passed" if result["passed"] else "FAILED"
    difference, before, after = (result[key] for key in ("largest_difference", "loss_before", "loss_after"))
    return (
        f"{verdict} in {result['seconds']} s; fast LSTM against its equations: {_short(difference)} apart; "
        f"loss {_short(before)} → {_short(after)}"
    )


def _short(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.2g}"
