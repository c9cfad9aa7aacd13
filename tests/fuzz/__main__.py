"""`./dev fuzz`: give damaged files to every reader, and keep the inputs that a reader did wrong with.

Each reader runs in a process of its own, so that a crash or a hang is a finding like any other.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom

from fuzz.readers import READERS
from fuzz.run import Finding, findings, numbered, scratch_folder
from fuzz.watch import Watch

CURRENT, RESULT = "current-input", "result.json"
SILENT_SECONDS = 60
"""After which a process that begins no new input is ended."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="time for all readers together (default: 10)")
    parser.add_argument("--cases", type=int, help="so many inputs for each reader instead of a time")
    parser.add_argument("--seed", type=int, help="repeats the inputs of an earlier run; else drawn")
    parser.add_argument("--readers", default=",".join(READERS), help="names with commas between them")
    parser.add_argument("--in-process", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.readers.split(",")) - READERS.keys()
    if unknown:
        parser.error(f"no reader named {', '.join(unknown)}; there are {', '.join(READERS)}")
    return arguments


def main() -> int:
    """Exit status: 1 with findings."""
    arguments = _arguments()
    names = arguments.readers.split(",")
    if arguments.in_process is not None:
        _one_reader(names[0], arguments)
        return 0
    seed = SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
    print(f"seed {seed}")
    seconds = 60 * arguments.minutes / len(names)
    total = sum(_watched(name, seed, seconds, arguments.cases) for name in names)
    print(f"{total} findings" if total else "no findings")
    return 1 if total else 0


def _watched(name: str, seed: int, seconds: float, cases: int | None) -> int:
    """Run one reader in a process, print what it did, keep what it found. Returns the number of findings."""
    with scratch_folder() as scratch:
        folder = Path(scratch)
        crash = _crash(_started(name, seed, seconds, cases, folder), folder)
        result = (
            json.loads((folder / RESULT).read_bytes()) if (folder / RESULT).is_file() else {"cases": 0, "found": []}
        )
        found = [Finding(name, each["reason"], bytes.fromhex(each["content"])) for each in result["found"]]
        if crash is not None:
            current = folder / CURRENT
            found.append(Finding(name, crash, current.read_bytes() if current.is_file() else b""))
    print(f"{name:16} {result['cases']:8,} cases  {len(found)} findings", flush=True)
    for each in found:
        print(f"  {each.reason}\n  kept in {each.keep()}", flush=True)
    return len(found)


def _started(name: str, seed: int, seconds: float, cases: int | None, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fuzz", "--in-process", str(folder), "--readers", name, "--seed", str(seed)]
    limit = ["--minutes", str(seconds / 60)] if cases is None else ["--cases", str(cases)]
    return subprocess.Popen([*command, *limit])


def _crash(process: subprocess.Popen[bytes], folder: Path) -> str | None:
    """Wait for the process; how it ended where it did not end well."""
    while True:
        try:
            status = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            if _silent_for(folder / CURRENT) > SILENT_SECONDS:
                process.kill()
                process.wait()
                return f"Hang: no end after {SILENT_SECONDS} s"
        else:
            return None if status == 0 else f"Crash: exit status {status}"


def _silent_for(current: Path) -> float:
    return time.time() - current.stat().st_mtime if current.is_file() else 0.0


def _one_reader(name: str, arguments: argparse.Namespace) -> None:
    """In the process of one reader: try inputs, and write down after each finding and at the end what came."""
    import torch

    torch.set_num_threads(1)
    folder, reader = arguments.in_process, READERS[name]
    cases, found = 0, []

    def counted() -> Iterator[bytes]:
        nonlocal cases
        until = None if arguments.cases is not None else time.monotonic() + 60 * arguments.minutes
        for content in numbered(reader, arguments.seed, arguments.cases, until):
            (folder / CURRENT).write_bytes(content)
            cases += 1
            yield content

    (folder / "files").mkdir()
    with Watch(folder / "files") as watch:
        for finding in findings(reader, counted(), watch):
            found.append({"reason": finding.reason, "content": finding.content.hex()})
            _write(folder, cases, found)
    _write(folder, cases, found)


def _write(folder: Path, cases: int, found: list[dict[str, str]]) -> None:
    (folder / RESULT).write_text(json.dumps({"cases": cases, "found": found}))


if __name__ == "__main__":
    sys.exit(main())
