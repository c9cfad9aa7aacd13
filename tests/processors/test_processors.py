"""Every job on every class of processor that this machine can play, each held to the plain reference.

Instructions are hidden from oneDNN and from torch's own code by environment variables, and from the project's library
by compiling it for a lesser target. A class above this machine plays this machine.

`./dev test` plays one class, the one that takes another path at every choice and that every machine can play.
`./dev test --all` plays all of them.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOWEST = {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
AVX512 = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"}
ABSENT = {"RECURLM_NATIVE": "0"}
CLASSES = {
    "baseline": {**LOWEST, "RECURLM_NATIVE_TARGET": "x86-64"},
    "baseline without library": LOWEST | ABSENT,
    "avx2": {**AVX2, "RECURLM_NATIVE_TARGET": "x86-64-v3"},
    "avx2 without library": AVX2 | ABSENT,
    "avx512 without bf16": {**AVX512, "RECURLM_NATIVE_TARGET": "x86-64-v4"},
    "native": {},
    "native without library": ABSENT,
}
ALWAYS = "baseline without library"
"""No library, and neither oneDNN nor torch beyond SSE4.1. The library's lesser targets are held to their twins in
`tests/kernels/test_native.py`, and this machine's own class by every other test."""
INSTRUCTIONS = {"baseline": "sse2", "avx2": "avx2", "avx512 without bf16": "avx512"}
TOLERANCE = {"fp32": 1e-4, "bf16": 0.02}
TRAINING_TOLERANCE = {"fp32": 1e-2, "bf16": 0.05}
"""Of a perplexity after some dozens of steps, which enlarge every rounding."""
CHOSEN = (*LOWEST, "RECURLM_NATIVE", "RECURLM_NATIVE_TARGET", "RECURLM_PRECISION")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name == ALWAYS else pytest.mark.thorough) for name in sorted(CLASSES)],
)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process of this class computed."""
    environment = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    if request.param.startswith("native"):
        # as the whole run was started, perhaps as a lesser processor itself
        environment |= {name: os.environ[name] for name in LOWEST if name in os.environ}
    script = Path(__file__).with_name("every_job.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("jobs"))],
        env=environment | CLASSES[request.param] | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"class": request.param}


def test_every_job_agrees_with_the_reference(report):
    for job, difference in report["differences"].items():
        tolerances = TRAINING_TOLERANCE if job.startswith("training") else TOLERANCE
        assert difference < tolerances[job[-4:]], f"{job} on {report['class']}"


def test_the_reference_learns_everywhere(report):
    """Eight tokens a line hold ln 4 nats of colour and ln 3 of how often "indeed" comes; unlearned it is 11."""
    assert math.exp(math.log(12) / 8) < report["reference_perplexity"] < 3.5


def test_auto_takes_bf16_where_the_processor_multiplies_it_and_may(report):
    assert report["auto"] == ("bf16" if report["bf16_is_fast"] else "fp32")
    if not report["class"].startswith("native"):
        assert not report["bf16_is_fast"]


def test_the_library_is_the_one_that_was_asked_for(report):
    if "without library" in report["class"]:
        assert report["library"] == "switched off by RECURLM_NATIVE=0"
    elif " " in report["library"]:
        pytest.skip(f"no library here: {report['library']}")
    elif report["class"] in INSTRUCTIONS:
        assert report["library"] == INSTRUCTIONS[report["class"]]
