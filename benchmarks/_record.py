"""What every record says: command, commit, machine, versions, date, raw values."""

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

ROOT = Path(__file__).resolve().parents[1]


def circumstances() -> dict[str, Any]:
    """Where, when and with what a figure was measured; folders of this machine are left out of the command."""
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
    """Write records/YYYY-MM-DD-name/name.json with the circumstances, or into a folder that is given."""
    facts = circumstances()
    path = (folder or ROOT / "records" / f"{facts['date']}-{name}") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"circumstances": facts, **values}, indent=2) + "\n", encoding="utf-8")
    return path


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
