"""What this machine offers, and a self-test of a few seconds."""

import math
import os
import platform
import shutil
import time
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from recurlm.config import ModelOptions, XavierInitialisation
from recurlm.devices import (
    bf16_is_fast,
    processor_name,
    resolve_device,
    resolve_precision,
    runs,
    slower_than_fp32,
)
from recurlm.errors import RecurlmError
from recurlm.kernels.linear_cross_entropy import loss_in_tiles
from recurlm.kernels.native import (
    has_bfloat16_tiles,
    has_tiles,
    native_instructions,
    native_library,
    native_status,
)
from recurlm.kernels.recurrent_sweep import LSTMPath, lstm_path
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.text.corpora import named_corpora
from recurlm.text.listing import listed
from recurlm.text.places import DataPlaces
from recurlm.version import CODE_VERSION

FEATURES = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")
EXTRAS = {"tokenizers": "bpe", "optuna": "search", "tensorboard": "tensorboard"}
TOLERANCE = {"cpu": 1e-4, "cuda": 5e-3}
"""Largest relative difference; cuDNN multiplies with ten bits of mantissa (TF32)."""


LSTM_PATHS: dict[LSTMPath, str] = {
    "tiles": "in bfloat16 tiles of the compiled library",
    "onednn bf16": "through oneDNN in bfloat16",
    "widened tiles": "in bfloat16 tiles of the compiled library, widened to float32",
    "onednn fp32": "through oneDNN in float32",
    "torch fp32": "step by step through torch in float32",
}


@dataclass(frozen=True)
class Processor:
    """The processor, its features that speed up this program, and the vector code that torch chose for it."""

    name: str
    features: dict[str, bool]
    vector_code: str
    threads: int


@dataclass(frozen=True)
class Cache:
    """The folder for downloads and prepared texts."""

    folder: str
    writable: bool
    free_bytes: int


@dataclass(frozen=True)
class SelfTest:
    """The self-test of a device: the fast LSTM against its equations, and twenty steps of training.

    largest_difference: relative, of loss and gradients; this and the losses are None where they are not finite · error:
    why the device could not compute at all, else None.
    """

    passed: bool
    largest_difference: float | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    seconds: float = 0.0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Part of the object that `doctor --json` prints."""
        values = asdict(self)
        return {"passed": False, "error": self.error} if values.pop("error") is not None else values


@dataclass(frozen=True)
class Diagnosis:
    """What this machine offers.

    jobs: for each job, what computes it by default and for each `--precision` · extras: version of each optional
    package, None where it is absent · corpora: yes, no, embedded, altered, or what is wrong.
    """

    versions: dict[str, str]
    processor: Processor
    devices: list[str]
    fast_paths: dict[str, bool]
    jobs: dict[str, dict[str, str]]
    native_library: str
    extras: dict[str, str | None]
    cache: Cache
    corpora: dict[str, str]
    self_tests: dict[str, SelfTest]

    def to_json(self) -> dict[str, Any]:
        """The object that `doctor --json` prints."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "self_tests"}
        tests = {device: test.to_json() for device, test in self.self_tests.items()}
        return values | {"processor": asdict(self.processor), "cache": asdict(self.cache), "self_test": tests}


def diagnose(places: DataPlaces) -> Diagnosis:
    """Look at versions, processor, devices, fast paths, extras, cache and corpora, and test each device."""
    return Diagnosis(
        versions=_versions(),
        processor=_processor(),
        devices=_devices(),
        fast_paths=_fast_paths(),
        jobs=_jobs(),
        native_library=native_status(),
        extras=_extras(),
        cache=_cache(places.cache),
        corpora=_corpora(places),
        self_tests=_self_tests(),
    )


def _versions() -> dict[str, str]:
    return {
        "recurlm": CODE_VERSION,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _processor() -> Processor:
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return Processor(
        processor_name(),
        {feature: capabilities[feature] for feature in FEATURES if feature in capabilities},
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
    )


def _devices() -> list[str]:
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    cuda = [f"cuda:{index} {name}" for index, name in enumerate(names)]
    mps = ["mps (seen, but not used)"] if torch.backends.mps.is_available() else []
    return ["cpu", *cuda, *mps]


def _fast_paths() -> dict[str, bool]:
    onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return {
        "onednn_lstm": onednn and bool(torch.backends.mkldnn.enabled) and runs("lstm fp32"),
        "onednn_lstm_bf16": onednn and bool(torch.backends.mkldnn.enabled) and runs("lstm bf16"),
        "mkl": mkl,
        "bf16": bf16_is_fast(),
        "native": native_library() is not None,
        "tiles": has_tiles(),
        "bf16_tiles": has_bfloat16_tiles(),
        "cudnn": torch.cuda.is_available() and torch.backends.cudnn.enabled,
    }


def _jobs() -> dict[str, dict[str, str]]:
    device = resolve_device("auto")
    training = {name: _precision_in_words(name, device) for name in ("auto", "bf16")}
    return {
        "training": training,
        "scoring": {"auto": training["auto"], "bf16": training["bf16"], "default": _precision_in_words("fp32", device)},
        "evaluation": {"default": _precision_in_words("fp32", device)},
        "generation": {"default": _generation_in_words(device)},
    }


def _precision_in_words(name: str, device: torch.device) -> str:
    """The precision of a `--precision`, and what computes LSTM and softmax loss in it."""
    precision = resolve_precision(name, device)
    if device.type != "cpu":
        return f"{precision} through cuDNN"
    bf16 = precision == "bf16"
    loss = "in tiles" if loss_in_tiles(bf16) else "in chunks"
    slower = slower_than_fp32(precision, device)
    return f"{precision}; LSTM {LSTM_PATHS[lstm_path(bf16)]}; softmax loss {loss}" + (f"; {slower}" if slower else "")


def _generation_in_words(device: torch.device) -> str:
    if device.type == "cpu" and has_tiles():
        return f"LSTM and softmax in bfloat16 tiles of the compiled library ({native_instructions()}); else fp32"
    return "fp32, step by step from the equations"


def _extras() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in EXTRAS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _cache(folder: Path) -> Cache:
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return Cache(str(folder), writable, shutil.disk_usage(existing).free)


def _corpora(places: DataPlaces) -> dict[str, str]:
    found = {}
    for corpus in named_corpora().values():
        try:
            available = listed(corpus, places).availability
        except RecurlmError as error:
            found[corpus.name] = str(error)
        else:
            found[corpus.name] = "no" if available == "partly" else available
    return found


def _self_tests() -> dict[str, SelfTest]:
    threads = torch.get_num_threads()
    # on a busy machine, threads that wait for each other make so little work a thousand times slower
    torch.set_num_threads(1)
    try:
        return {device: _self_test(device) for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else []))}
    finally:
        torch.set_num_threads(threads)


def _self_test(name: str) -> SelfTest:
    device, start = torch.device(name), time.monotonic()
    try:
        difference = _largest_difference(device)
        before, after = _losses(device)
    except RuntimeError as error:
        # such as a CUDA build without code for this GPU
        return SelfTest(passed=False, error=str(error).splitlines()[0])
    return SelfTest(
        difference < TOLERANCE[name] and after < before / 2,
        _finite(difference),
        _finite(before),
        _finite(after),
        round(time.monotonic() - start, 2),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tiny_model(device: torch.device) -> LanguageModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LanguageModel(ModelOptions(embedding_size=32, hidden_sizes=(32, 32)), 20)
        initialise(model, XavierInitialisation())
    return model.to(device)


def _losses_of(model: LanguageModel, tokens: torch.Tensor) -> torch.Tensor:
    """Mean loss in nats of tokens (T, B), each predicted from the tokens before it."""
    logits, _ = model(tokens[:-1], model.initial_state(tokens.shape[1]))
    return F.cross_entropy(logits.flatten(0, 1), tokens[1:].flatten())


def _cycle(device: torch.device) -> torch.Tensor:
    """Tokens (T, B) that count from 0 to 19 and repeat; each column starts at another number."""
    return (torch.arange(21, device=device)[:, None] + torch.arange(4, device=device)) % 20


def _largest_difference(device: torch.device) -> float:
    """The largest relative difference of loss and gradients between the fast LSTM and its equations step by step."""
    results = []
    for fast in (True, False):
        model = _tiny_model(device)
        model.stack.fast = fast
        loss = _losses_of(model, _cycle(device))
        results.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    differences = [(a - b).abs().max() / b.abs().max().clamp(min=1e-12) for a, b in zip(*results, strict=True)]
    return float(torch.stack(differences).max())


def _losses(device: torch.device) -> tuple[float, float]:
    """Loss before and after twenty steps on a text that repeats itself."""
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
