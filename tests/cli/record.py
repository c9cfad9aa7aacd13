"""What the fixed invocations print and write, as one text for each.

    PYTHONPATH=src:tests python -m cli.record                  # rewrites tests/cli/recorded
    PYTHONPATH=src:tests python -m cli.record --exact FOLDER   # every digit and digest, for diff -r

Both forms mask versions, dates, times and speeds. The recorded files are portable: they also mask digests of weights,
the processor and the kernels. The exact form compares two checkouts on one machine.
"""

import argparse
import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from cli.in_process import Outcome, run_command
from cli.invocations import INVOCATIONS, VARIABLES, Invocation, write_scene

RECORDED = Path(__file__).parent / "recorded"
TENSORS = (".safetensors", ".state")
PICTURES = (".svg", ".png")
SPEED_PICTURES = ("training.svg", "training.png")
"""These pictures show the speed of the run."""

TIMED_KEYS = (
    "(?:longest_validation|window_seconds|validation_seconds|validated_at|seconds(?:_left)?|start_up"
    "|(?:tokens|sentences)_per_second)"
)
MASKS = [
    (re.compile(rf'("{TIMED_KEYS}": )(?:[\d.e+-]+|null)'), r"\1SECONDS"),
    (re.compile(r"[\d,]+( tokens/s| sentences/s)"), r"SPEED\1"),
    (re.compile(r"(\bleft |\bin |  )\d+:\d\d(?::\d\d)?\b"), r"\1M:SS"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)"), "DATE"),
    (re.compile(r'("(?:recurlm|python|torch|numpy)": )"[^"]*"'), r'\1"VERSION"'),
    (re.compile(r"(\brecurlm=)[\w.+]+"), r"\1VERSION"),
    (re.compile(r"recurlm \S+ \(torch \S+, Python \S+\)"), "recurlm VERSION (torch VERSION, Python VERSION)"),
]
COMPUTED = re.compile(r'("kernels": )\{[^}]*\}')
MODELS = re.compile(r"\|models?=[^|]*")
HEX = re.compile(r"\b[0-9a-f]{8,64}\b")


@dataclass
class Recorder:
    """Runs invocations in one folder and describes what each printed and wrote.

    timed: SHA-256 of the files that hold times or versions · weights: SHA-256 of the files that hold results of
    floating-point arithmetic. Manifests and configurations repeat these digests, so the recorder masks them there.
    """

    folder: Path
    portable: bool
    timed: set[str] = field(default_factory=set)
    weights: set[str] = field(default_factory=set)

    def run(self, invocation: Invocation) -> str:
        """The record of one invocation: command, exit code, both streams, and each file that was written."""
        before = _files(self.folder)
        outcome = run_command(
            invocation.command.split(),
            stdin=invocation.stdin,
            folder=self.folder,
            variables=VARIABLES,
            interrupt_after=invocation.interrupt_after,
        )
        after = _files(self.folder)
        written = [name for name, content in after.items() if before.get(name) != content]
        for name in written:
            self._remember(name, after[name])
        parts = [*_printed(invocation, outcome), *(f"--- removed {name}\n" for name in before if name not in after)]
        parts += [f"--- file {name}\n{self._described(name, after[name])}\n" for name in written]
        return self._masked("".join(parts))

    def _remember(self, name: str, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        if name.endswith((*TENSORS, ".arpa")):
            self.weights |= {digest, *(_metadata(content).values() if name.endswith(TENSORS) else ())}
        elif name.endswith(SPEED_PICTURES) or (not name.endswith(PICTURES) and _is_timed(content)):
            self.timed.add(digest)

    def _described(self, name: str, content: bytes) -> str:
        """Describe a file: a text by itself, tensors by name, shape and norm, a picture by its labels."""
        digest = hashlib.sha256(content).hexdigest()
        if name.endswith(PICTURES):
            if name.endswith(SPEED_PICTURES):
                return "a picture of times"
            return "\n".join([*_labels(content), "" if self.portable else f"sha256 {digest}"])
        if name.endswith(TENSORS):
            *tensors, kept = _tensors(content)
            return "\n".join(tensors if self.portable else [*tensors, kept])
        return f"sha256 {digest}" if b"\0" in content else content.decode()

    def _masked(self, text: str) -> str:
        text = _without_times(text.replace(str(self.folder), "FOLDER"))
        if self.portable:
            text = COMPUTED.sub(r"\1{}", text)
            text = MODELS.sub(lambda found: re.sub(":[0-9a-f]+", ":WEIGHTS", found[0]), text)
        return HEX.sub(lambda found: self._named(found[0]), text)

    def _named(self, digest: str) -> str:
        if any(each.startswith(digest) for each in self.timed):
            return "DIGEST"
        return "WEIGHTS" if self.portable and any(each.startswith(digest) for each in self.weights) else digest


def records(*, portable: bool) -> Iterator[tuple[Invocation, str]]:
    """Run the whole list in a temporary folder: each invocation and its record."""
    from recurlm.kernels.native import native_library

    native_library()  # compile it now: an invocation that compiles it prints a line about it
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        write_scene(folder)
        recorder = Recorder(folder, portable)
        for invocation in INVOCATIONS:
            yield invocation, recorder.run(invocation)


def write_records(folder: Path, *, portable: bool) -> None:
    """Write one file for each invocation, and remove the files of invocations that left the list."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.txt"):
        path.unlink()
    for invocation, record in records(portable=portable):
        (folder / f"{invocation.name}.txt").write_bytes(record.encode())


def _files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _printed(invocation: Invocation, outcome: Outcome) -> Iterator[str]:
    yield f"$ recurlm {invocation.command}\n"
    if invocation.stdin:
        yield f"--- stdin\n{invocation.stdin}"
    yield f"--- exit code {outcome.code}\n"
    yield f"--- stdout\n{outcome.stdout.decode(errors='backslashreplace')}"
    yield f"--- stderr\n{outcome.stderr.decode(errors='backslashreplace')}"


def _without_times(text: str) -> str:
    for pattern, mask in MASKS:
        text = pattern.sub(mask, text)
    return text


def _is_timed(content: bytes) -> bool:
    text = content.decode(errors="replace")
    return _without_times(text) != text


def _labels(content: bytes) -> Iterable[str]:
    """Labels of an SVG picture: matplotlib draws letters as paths and writes the text into a comment."""
    return re.findall("<!-- (.*?) -->", content.decode())


def _metadata(content: bytes) -> dict[str, str]:
    return _header(content)[0].get("__metadata__", {})


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes behind it."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def _tensors(content: bytes) -> Iterator[str]:
    """Describe metadata and tensors, then the digest without metadata, whose order is random."""
    header, data = _header(content)
    metadata = header.pop("__metadata__", {})
    yield from (f"metadata {name} {value}" for name, value in sorted(metadata.items()))
    for name, tensor in sorted(load(content).items()):
        yield f"{name} {tensor.dtype} {list(tensor.shape)} norm {np.linalg.norm(tensor.astype(np.float64)):.9g}"
    bare = content if not metadata else json.dumps(header).encode() + data
    yield f"sha256 {hashlib.sha256(bare).hexdigest()}"


def main() -> None:
    """Write the recorded files, or with --exact those of a comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exact", type=Path, metavar="FOLDER", help="Write every digit and digest into this folder.")
    exact = parser.parse_args().exact
    write_records(exact or RECORDED, portable=exact is None)


if __name__ == "__main__":
    main()
