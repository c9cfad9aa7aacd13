"""Checkpoints while a run trains: the state that they hold, how it is saved, and how a run resumes from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from recurlm.distributed import Team
from recurlm.errors import CorruptFileError, InputError
from recurlm.models.language_model import LanguageModel
from recurlm.models.state import LayerStates, map_state
from recurlm.runs.checkpoints import WEIGHTS_FILE
from recurlm.runs.folder import RunFolder
from recurlm.tensor_files import tensor_bytes, tensors
from recurlm.training.averaging import WeightAverage
from recurlm.training.counters import Counters
from recurlm.training.optimizers import optimizer_tensors, restore_optimizer
from recurlm.training.step import DivergedError

OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.safetensors"
AVERAGE_FILE = "average.safetensors"
COUNTERS_FILE = "counters.json"


@dataclass
class TrainingState:
    """Everything that changes while a run trains, but for torch's random state.

    carried: the recurrent state after the last batch, of the columns that this process reads; None at the beginning of
    an epoch. A checkpoint has all columns, and the random state that all processes share, so any number of processes
    can go on from it.
    """

    model: LanguageModel
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    counters: Counters
    carried: LayerStates | None = None
    team: Team = field(default_factory=Team)

    def gathered(self) -> LayerStates | None:
        """The recurrent state of all columns. All processes call this together."""
        return None if self.carried is None else map_state(self.team.gather_columns, self.carried)

    def files(self, carried: LayerStates | None) -> dict[str, bytes]:
        """The files of a checkpoint, torch's random state included; `carried` is the state of all columns."""
        device = self.model.device
        files = {
            WEIGHTS_FILE: tensor_bytes(self.model.weights()),
            OPTIMIZER_FILE: tensor_bytes(optimizer_tensors(self.optimizer)),
            STATE_FILE: tensor_bytes(state_tensors(carried) | random_state(device)),
            COUNTERS_FILE: self.counters.to_json(),
        }
        if self.average is not None:
            files[AVERAGE_FILE] = tensor_bytes(self.average.tensors())
        return files

    def restore(self, files: Mapping[str, bytes], place: Path) -> None:
        """Restores what `files` returned, torch's random state included.

        Raises CorruptFileError, KeyError, RuntimeError, TypeError or ValueError if the files belong to another model.
        """
        self.counters.replace(Counters.from_json(files[COUNTERS_FILE]))
        self.model.load_weights(tensors(files[WEIGHTS_FILE], place))
        restore_optimizer(self.optimizer, tensors(files[OPTIMIZER_FILE], place))
        if self.average is not None:
            self.average.restore(tensors(files[AVERAGE_FILE], place))
        saved = tensors(files[STATE_FILE], place)
        self.carried = self._own(state_from_tensors(saved, self.model, place))
        restore_random_state(saved, place)

    def _own(self, carried: LayerStates | None) -> LayerStates | None:
        """The columns that this process reads."""
        if carried is None:
            return None
        return map_state(lambda tensor: tensor[self.team.columns(len(tensor))], carried)


class Checkpointer:
    """Saves the state of a run in its folder when `seconds` have passed since the last time, and restores it.

    Of several processes the first one writes; all read the same checkpoint.
    """

    def __init__(self, folder: RunFolder, state: TrainingState, seconds: float, now: Callable[[], float]) -> None:
        self.folder, self.state, self.seconds, self.now = folder, state, seconds, now
        self.saved_at = now()

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self.now() - self.saved_at > self.seconds

    def restart_interval(self) -> None:
        """Counts the seconds until the next checkpoint from now on."""
        self.saved_at = self.now()

    def save(self) -> None:
        """Writes a checkpoint. Raises DivergedError if a weight is not finite."""
        step = self.state.counters.step
        if not all(bool(tensor.isfinite().all()) for tensor in self.state.model.weights().values()):
            raise DivergedError(
                f"weights are no longer finite after step {step:,}; the last good checkpoint in {self.folder.path} is "
                "untouched\nbegin another run with a lower optimizer.learning_rate"
            )
        carried = self.state.gathered()
        with self.state.team.in_own_time():
            if self.state.team.leads:
                self.folder.checkpoints.save(step, self.state.files(carried))
        self.restart_interval()

    def resume(self, tell: Callable[[str], None]) -> bool:
        """Restores the newest checkpoint; returns whether there is one. `tell` receives a line for each damaged one.

        Raises CorruptFileError if the checkpoint is damaged or belongs to another model.
        """
        with self.state.team.first_before_others():  # the first process puts damaged checkpoints away
            if self.state.team.leads:
                self.folder.discard_unfinished()
            files = self.folder.checkpoints.latest(tell)
        if files is not None:
            self._restore(files)
        self._refuse_another_step()
        return files is not None

    def _restore(self, files: Mapping[str, bytes]) -> None:
        """Raises CorruptFileError if the checkpoint belongs to another model."""
        try:
            self.state.restore(files, self.folder.path)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CorruptFileError(
                f"{self.folder.path}: its newest checkpoint does not fit config.json: {error}; begin again in another "
                "folder"
            ) from error

    def _refuse_another_step(self) -> None:
        """Raises InputError where the first process has read another checkpoint, as folders that are not shared do."""
        step = self.state.counters.step
        first = int(self.state.team.first(step))
        if step != first:
            raise InputError(
                f"{self.folder.path}: this process found a checkpoint of step {step:,}, the first process one of step "
                f"{first:,}; put the run into a folder that all machines share"
            )


def state_tensors(state: LayerStates | None) -> dict[str, Tensor]:
    """The tensors of a recurrent state, named `layer.<layer>.<part>`; none for None."""
    if state is None:
        return {}
    return {f"layer.{i}.{j}": tensor for i, layer in enumerate(state) for j, tensor in enumerate(layer)}


def state_from_tensors(saved: Mapping[str, Tensor], model: LanguageModel, place: Path) -> LayerStates | None:
    """The recurrent state that `state_tensors` named. Raises CorruptFileError if it belongs to another model."""
    layers = {name: tensor for name, tensor in saved.items() if name.startswith("layer.")}
    if not layers:
        return None
    columns = max((len(tensor) for tensor in layers.values() if tensor.dim()), default=0)
    expected = state_tensors(model.initial_state(columns))
    if _float_shapes(layers) != _float_shapes(expected):
        raise CorruptFileError(f"{place}: checkpoint: the state that was carried is another model's")
    return tuple(
        tuple(layers[f"layer.{i}.{j}"].to(model.device) for j in range(cell.carried))
        for i, cell in enumerate(model.stack.cells)
    )


def _float_shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[bool, torch.Size]]:
    return {name: (tensor.is_floating_point(), tensor.shape) for name, tensor in tensors.items()}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's random number generators: of the CPU, and of the GPU if the device is one."""
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def share_start(team: Team, model: LanguageModel) -> None:
    """Gives every process of a team the weights and the random state of the first one."""
    if team.count == 1:
        return
    team.copy_first(list(model.weights().values()))
    shared = random_state(model.device)
    team.copy_first(list(shared.values()))
    restore_random_state(shared, Path())


def restore_random_state(saved: Mapping[str, Tensor], place: Path) -> None:
    """Restores what `random_state` returned. Raises CorruptFileError if torch refuses it."""
    try:
        torch.set_rng_state(saved["random.cpu"])
        if "random.cuda" in saved:
            torch.cuda.set_rng_state(saved["random.cuda"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise CorruptFileError(f"{place}: checkpoint: its random state cannot be used: {error}") from error
