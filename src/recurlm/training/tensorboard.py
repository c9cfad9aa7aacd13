"""The journal's numbers for TensorBoard, an extra."""

import warnings
from pathlib import Path
from typing import Any

from recurlm.errors import UsageError
from recurlm.files import refuse_link

SHOWN = ("loss", "perplexity", "valid_perplexity", "test_perplexity", "lr", "tokens_per_second")


class TensorBoard:
    """Writes event files into a folder; `tensorboard --logdir` shows them."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError with the install command where tensorboard is absent, CorruptFileError for a link."""
        try:
            with warnings.catch_warnings():
                # its own dependencies warn about themselves on import
                warnings.simplefilter("ignore")
                from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs the tensorboard library: pip install 'recurlm[tensorboard]'"
            ) from error
        refuse_link(folder)
        self._writer = SummaryWriter(str(folder))

    def write(self, entry: dict[str, Any]) -> None:
        """One entry of metrics.jsonl, its numbers under `step/`, `epoch/` or `final/`."""
        for name in SHOWN:
            value = entry.get(name)
            if value is not None:
                self._writer.add_scalar(f"{entry['event']}/{name}", value, entry["step"])

    def close(self) -> None:
        """Write what is waiting."""
        self._writer.close()
