"""The processes that one command starts, and their notes: a folder in which they say what the others need to know.

Imports nothing heavy, so that the command line can ask before torch is loaded.
"""

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

NOTES, STOPPED = "RECURLM_LAUNCH_NOTES", "stopped"
"""The variable that names the launcher's folder, and the file there that says that a run stopped with a checkpoint."""
LAUNCHER = "RECURLM_LAUNCHER"
"""The variable that holds the number of the launcher's process."""
LAUNCHED_HERE = "recurlm"
"""The name that torch's launcher gives the processes of `--processes`."""


def is_launched_here() -> bool:
    """Whether `--processes` started this process."""
    return os.environ.get("TORCHELASTIC_RUN_ID") == LAUNCHED_HERE


def is_abandoned() -> bool:
    """Whether the launcher of this process has ended; False for a process that `--processes` did not start."""
    return LAUNCHER in os.environ and is_launched_here() and os.getppid() != int(os.environ[LAUNCHER])


def note_stop() -> None:
    """Tells the launcher of `--processes` that the run stopped with a checkpoint."""
    if folder := os.environ.get(NOTES):
        with suppress(FileNotFoundError):  # the folder of a launcher that was killed
            Path(folder, STOPPED).touch()


def remove_abandoned_notes() -> None:
    """Removes the folder of a launcher that was killed."""
    folder = os.environ.get(NOTES)
    if folder is not None and is_abandoned():
        shutil.rmtree(folder, ignore_errors=True)


def tells_first(text: str) -> bool:
    """Whether this process is the first to tell the user a text, of those that a command started with --processes."""
    folder = os.environ.get(NOTES)
    if folder is None or not is_launched_here():
        return True
    name = f"told-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:32]}"
    try:
        Path(folder, name).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # the folder went with its launcher, or the disk is full
        return True
    return True
