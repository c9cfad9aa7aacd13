"""Models of a folder's runs, loaded when a request asks for one."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from recurlm.errors import InputError
from recurlm.interface.model import load
from recurlm.runs.folder import MODEL_FILE
from recurlm.serving.models import ServedModel, serve_model
from recurlm.studio.folder import StudioFolder

MOST_OPEN = 4
SLOTS = 8
QUEUE = 64


class OpenedModels(Mapping[str, ServedModel]):
    """The served models by the names of their runs; iterates over those that are loaded.

    A model that training has replaced since is loaded again. Beyond `MOST_OPEN`, the idle model that was used longest
    ago is closed.
    """

    def __init__(self, folder: StudioFolder, device: str) -> None:
        self._folder, self._device = folder, device
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[int, ServedModel]] = OrderedDict()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._folder.holds_model(name)

    def __getitem__(self, name: str) -> ServedModel:
        """The model of a run, loaded if need be. Raises InputError where there is none or it cannot be loaded."""
        if name not in self:
            raise InputError(f"{name}: no run of this folder with a model")
        with self._lock:
            changed = (self._folder.path(name) / MODEL_FILE).stat().st_mtime_ns
            since, served = self._open.pop(name, (0, None))
            if served is not None and since != changed:
                served.close(0)
                served = None
            if served is None:
                served = self._load(name)
            self._open[name] = changed, served
            self._close_idle(name)
            return served

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """Closes all models."""
        with self._lock:
            for _, served in self._open.values():
                served.close(1)
            self._open.clear()

    def _load(self, name: str) -> ServedModel:
        model = load(self._folder.path(name), device=self._device)
        served = serve_model("run", model, slots=SLOTS, queue=QUEUE)
        served.name = name  # a folder's name may hold characters that addresses of `serve` refuse
        return served

    def _close_idle(self, used: str) -> None:
        for name, (_, served) in list(self._open.items()):
            if len(self._open) <= MOST_OPEN:
                return
            if name != used and not any(served.engine.load) and not served.waiting_scores:
                del self._open[name]
                served.close(0)
