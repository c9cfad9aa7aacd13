"""The summary of a record: command, commit, machine, versions, date and the figures of each measurement."""

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from recurlm.devices import bf16_is_fast
from recurlm.files import write_whole

ROOT = Path(__file__).resolve().parents[1]
SUMMARY_FILE = "summary.json"


def circumstances() -> dict[str, Any]:
    """Returns the command, date, commit, machine and versions; folders of this machine are left out of the command."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return {
        "command": re.sub(r"(?<![\w.])/\S*/", "", " ".join(sys.argv)),
        "date": datetime.date.today().isoformat(),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "processor": capabilities.get("cpu_name", platform.processor()),
        "cores": torch.get_num_threads(),
        "bf16": [name for name in ("amx_bf16", "avx512_bf16") if capabilities.get(name)] if bf16_is_fast() else [],
        "load": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write_record(name: str, values: dict[str, Any], folder: Path | None = None) -> Path:
    """Put a measurement into the summary of records/YYYY-MM-DD-name/, or of the given folder; returns the file.

    The summary is one object with a key for each measurement. Other measurements in the file stay.
    """
    facts = circumstances()
    path = (folder or ROOT / "records" / f"{facts['date']}-{name}") / SUMMARY_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = json.loads(path.read_bytes()) if path.is_file() else {}
    summary[name] = {"circumstances": facts, **values}
    write_whole(path, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
