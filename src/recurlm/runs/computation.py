"""What computes a run: kernels, threads and torch. They decide its last bits, so they are recorded and compared."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from recurlm.devices import bf16_is_fast, processor_name
from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError
from recurlm.files import opened
from recurlm.files.streams import raw_lines
from recurlm.kernels.native import native_digest, native_instructions
from recurlm.runs.folder import METRICS_FILE, RunFolder

Computation = dict[str, Any]
"""The keys `kernels`, `threads` and `torch`, as in the events `begin` and `resume` of metrics.jsonl."""

NAMES = {"library": "compiled library", "digest": "build of the compiled library", "vector_code": "torch's vector code"}
NAMES |= {"bf16_products": "bfloat16 products in hardware", "torch": "torch version"}


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Inside, torch computes with `count` threads; the caller's number returns at the end.

    The number of threads decides the order of sums, so a resumed run needs the number that it began with.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def computation(device: str) -> Computation:
    """What this process computes with on a device."""
    return {"kernels": kernels(device), "threads": torch.get_num_threads(), "torch": str(torch.__version__)}


def kernels(device: str) -> dict[str, Any]:
    """What computes on a device; for a CPU the compiled library of the project (or `none`) and what torch uses."""
    if device != "cpu":
        return {"gpu": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    digest = native_digest()
    return {
        "library": native_instructions() or "none",
        "digest": None if digest is None else f"sha256:{digest[:16]}",
        "processor": processor_name(),
        "vector_code": torch.backends.cpu.get_cpu_capability(),
        "bf16_products": bf16_is_fast(),
    }


def changed_computation(folder: RunFolder, device: str, processes: int = 1) -> str | None:
    """A sentence if these processes cannot continue a run bit for bit, or if that is not known; else None."""
    own = _flat(computation(device), processes)
    now = own | {"processes": processes}
    differences: dict[str, str] = {}
    first, *others = _earlier(folder)
    if others:
        first = {name: value for name, value in first.items() if name != "threads"}  # the process that began says it
    for before in (first, *others):
        for name in now.keys() & before.keys():
            if before[name] != now[name]:
                differences.setdefault(name, f"{NAMES.get(name, name)} {_said(now[name])} (was {_said(before[name])})")
    if "library" in differences:
        differences.pop("digest", None)
    if differences:
        listed = ", ".join(differences[name] for name in now if name in differences)
        return f"continues, but not bit for bit like an uninterrupted run: {listed}"
    if own.keys() - first.keys() - {"threads"}:
        return "the kernels that began this run are not recorded, so it may not continue bit for bit"
    return None


def _earlier(folder: RunFolder) -> Iterator[Computation]:
    """What computed the run so far: the process that began it, then every process that resumed it."""
    config = folder.config("threads", "versions")
    yield _flat(
        {"kernels": config.get("kernels"), "threads": config["threads"], "torch": config["versions"].get("torch")}
    )
    path = folder.path / METRICS_FILE
    if not path.exists():
        return
    with opened(path, error=CorruptFileError) as file:
        for line in raw_lines(file, str(path)):
            with suppress(CorruptFileError):
                entry = parse_json_object(line, METRICS_FILE, finite=False, file_names=True)
                if entry.get("event") in ("begin", "resume"):
                    recorded = {name: entry.get(name) for name in ("kernels", "threads", "torch")}
                    processes = entry.get("processes", 1)
                    yield _flat(recorded, processes) | {"processes": processes}


def _flat(values: Computation, processes: int = 1) -> dict[str, Any]:
    """What is compared, by its name; the threads are those of all processes together."""
    own, threads = values["kernels"], values["threads"]
    rest = {name: value for name, value in values.items() if name != "kernels" and value is not None}
    whole = {} if threads is None else {"threads": threads * processes}
    return (own if isinstance(own, dict) else {}) | rest | whole


def _said(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
