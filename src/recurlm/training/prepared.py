"""A run that is prepared: everything that a trainer works on."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from recurlm.config import Recipe
from recurlm.distributed import Team
from recurlm.models.language_model import LanguageModel
from recurlm.runs.config import RunConfig
from recurlm.runs.folder import RunFolder
from recurlm.text.batching import BatchSource
from recurlm.text.store import PreparedCorpus


@dataclass(frozen=True)
class PreparedRun:
    """The configuration, the texts, the batches of the training text, the model and the folder of a run.

    claim: holds the folder for this process until it is left · team: the processes that train.
    """

    config: RunConfig
    corpus: PreparedCorpus
    batches: BatchSource
    model: LanguageModel
    folder: RunFolder
    claim: AbstractContextManager[object] = field(default_factory=nullcontext)
    team: Team = field(default_factory=Team)

    @property
    def threads(self) -> int:
        """The threads of this process: its part of the run's, which the processes of a machine share."""
        return max(1, self.config.threads // self.team.here)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.config.recipe
