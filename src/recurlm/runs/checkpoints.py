"""The checkpoints of a run: folders of files, each written whole or not at all, and verified when read."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recurlm.capacity import machine_memory
from recurlm.errors import CorruptFileError
from recurlm.files import check_output_folder, refuse_link, write_within
from recurlm.files.partial import remove_partial, sync_folder, temporary_folder
from recurlm.runs.manifest import MANIFEST_FILE, Entries, digest, manifest_bytes, read_manifest, read_verified
from recurlm.tensor_files import finite_tensors, read_header

CHECKPOINTS_FOLDER = "checkpoints"
WEIGHTS_FILE = "weights.safetensors"
KEPT_CHECKPOINTS = 2

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of the run in the folder `run`; the newest two are kept."""

    run: Path

    @property
    def path(self) -> Path:
        """The folder that holds them."""
        return self.run / CHECKPOINTS_FOLDER

    @property
    def folders(self) -> list[Path]:
        """A folder for each checkpoint, oldest first."""
        return sorted(self.path.glob("step-*"))

    def make(self) -> None:
        """Makes the folder. Raises InputError if a file has its place, CorruptFileError if a link has."""
        refuse_link(self.path)
        check_output_folder(self.path)
        self.path.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, files: Mapping[str, bytes]) -> None:
        """Writes a checkpoint whole or not at all, and removes all but the newest."""
        self.make()
        target = self.path / f"step-{step:08d}"
        entries: Entries = {name: digest(content) for name, content in files.items()}
        with temporary_folder(self.path) as unfinished:
            for name, content in {**files, MANIFEST_FILE: manifest_bytes(entries)}.items():
                write_within(unfinished, name, content)
            # the step of a validation is saved twice, before it and after it
            before = _set_aside(target) if target.exists() else None
            os.replace(unfinished, target)
            if before is not None:
                shutil.rmtree(before, ignore_errors=True)
        sync_folder(self.path)
        for old in self.folders[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(_set_aside(old), ignore_errors=True)

    def latest(self, tell: Tell = lambda _: None) -> dict[str, bytes] | None:
        """The files of the newest whole checkpoint, or None if there is no checkpoint.

        Newer, damaged checkpoints are renamed to ``damaged-step-…``; `tell` receives a line about each. Raises
        CorruptFileError if all checkpoints are damaged.
        """
        damages: dict[Path, CorruptFileError] = {}
        for folder in reversed(self.folders):
            try:
                files = read_checkpoint(folder)
            except CorruptFileError as error:
                damages[folder] = error
                continue
            for damaged, damage in damages.items():
                _put_away(damaged)
                tell(f"{damage}\n{damaged.name} is damaged; going on from the checkpoint before it, {folder.name}")
            return files
        if not damages:
            return None
        newest, damage = next(iter(damages.items()))
        raise CorruptFileError(
            f"{damage}\nno checkpoint is whole; to begin again, remove {newest.parent} and run the command "
            "with --resume"
        )

    def discard(self) -> None:
        """Removes all checkpoints of a run that will not be resumed."""
        shutil.rmtree(self.path, ignore_errors=True)

    def discard_unfinished(self) -> None:
        """Removes what a killed process left half written."""
        remove_partial(self.path)


def read_checkpoint(folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint.

    Raises CorruptFileError if a file is missing or altered, or if weights are not finite.
    """
    entries = read_manifest(folder / MANIFEST_FILE)
    files = {name: read_verified(folder, name, entries, machine_memory()) for name in entries}
    for name, content in files.items():
        if name.endswith(".safetensors"):
            read_header(content, folder / name)
    if WEIGHTS_FILE in files:
        finite_tensors(files[WEIGHTS_FILE], folder / WEIGHTS_FILE)
    return files


def _set_aside(folder: Path) -> Path:
    """Renames a folder, so that readers never see it half removed."""
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(folder, aside)
    return aside


def _put_away(damaged: Path) -> None:
    """Renames a damaged checkpoint, so that commands pass it over; its files stay for inspection."""
    target = damaged.with_name(f"damaged-{damaged.name}")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(damaged, target)
