"""The numbers of the journal for TensorBoard, an extra."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recurlm.errors import UsageError
from recurlm.files import refuse_link

SHOWN = ("loss", "perplexity", "valid_perplexity", "test_perplexity", "lr", "tokens_per_second")


class TensorBoard:
    """Writes event files into a folder; `tensorboard --logdir` shows them."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError with the install command if tensorboard is absent, CorruptFileError for a link."""
        try:
            with warnings.catch_warnings():
                # its dependencies warn about themselves on import
                warnings.simplefilter("ignore")
                from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs the tensorboard library: pip install 'recurlm[tensorboard]'"
            ) from error
        refuse_link(folder)
        self._writer = SummaryWriter(str(folder))

    def write(self, entry: Mapping[str, Any]) -> None:
        """Writes the numbers of one entry of metrics.jsonl under `step/`, `epoch/` or `final/`."""
        for name in SHOWN:
            value = entry.get(name)
            if value is not None:
                self._writer.add_scalar(f"{entry['event']}/{name}", value, entry["step"])

    def close(self) -> None:
        """Writes what is still waiting."""
        self._writer.close()
