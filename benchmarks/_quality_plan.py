"""What a quality measurement is to do, and where it keeps what is done."""

import json
from dataclasses import dataclass
from pathlib import Path

from recurlm.errors import UsageError
from recurlm.files import write_whole

TRAINING = "training"
ADAPTATIONS = ("cache", "dynamic-rms")
PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What is trained and measured.

    seconds: of each seed's whole training, validation and exact evaluation included · adaptations: methods of
    `recurlm adapt`, their options tuned on valid, each a column of its own · folder: what calls leave to one another,
    a run for each seed and every figure that is done · tiny: toy sizes on a made text, to see that it all runs.
    """

    recipe: str
    seconds: float
    seeds: tuple[int, ...]
    folder: Path
    adaptations: tuple[str, ...] = ADAPTATIONS
    device: str = "cpu"
    tiny: bool = False

    def run(self, seed: int) -> Path:
        """The run folder of a seed."""
        return self.folder / f"seed-{seed}"

    def figures(self, seed: int, part: str) -> Path:
        """The file with the figures of one part, `TRAINING` or an adaptation; it is there when they are."""
        return self.folder / f"seed-{seed}-{part}.json"

    def claim(self) -> None:
        """Begin the folder, or go on in it. Raises UsageError where it holds figures of something else."""
        own = {"recipe": self.recipe, "seconds": self.seconds, "device": self.device, "tiny": self.tiny}
        path = self.folder / PLAN_FILE
        if not path.is_file():
            write_whole(path, json.dumps(own, indent=2).encode())
        elif (begun := json.loads(path.read_bytes())) != own:
            raise UsageError(f"{self.folder} was begun with {begun}; name another folder with --runs")
