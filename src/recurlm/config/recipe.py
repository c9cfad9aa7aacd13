"""A whole recipe: everything that decides how a text becomes a model."""

from pydantic import Field, model_validator

from recurlm.config.average import Average, NoAverage
from recurlm.config.batches import Batches, StreamBatches
from recurlm.config.initialisation import Initialisation, XavierInitialisation
from recurlm.config.model import ModelOptions
from recurlm.config.optimizer import Adam, Optimizer
from recurlm.config.schedule import ConstantSchedule, Schedule
from recurlm.config.section import Section
from recurlm.config.text import TextOptions
from recurlm.config.training import Training, Validation


class Recipe(Section):
    """A whole recipe, as a TOML file contains it."""

    description: str = Field("", description="one line that says what the recipe is for")
    source: str = Field("", description="the paper, page or program it comes from, and the published figure")
    result: str = Field("", description="what it reached here, and where the record is")
    corpus: str = Field("python-docs", description="the text that is used if the command names none")
    text: TextOptions = Field(default_factory=TextOptions)
    batches: Batches = Field(default_factory=StreamBatches)
    model: ModelOptions = Field(default_factory=ModelOptions)
    initialisation: Initialisation = Field(default_factory=XavierInitialisation)
    optimizer: Optimizer = Field(default_factory=Adam)
    schedule: Schedule = Field(default_factory=ConstantSchedule)
    average: Average = Field(default_factory=NoAverage)
    training: Training = Field(default_factory=Training)
    validation: Validation = Field(default_factory=Validation)

    @model_validator(mode="after")
    def _protocol_fits(self) -> "Recipe":
        if self.validation.full_batches is not None and self.validation.protocol != "mxnet":
            raise ValueError('validation.full_batches belongs to validation.protocol = "mxnet"')
        return self

    @model_validator(mode="after")
    def _documents_fit(self) -> "Recipe":
        if self.text.document == "blank-line" and self.batches.kind == "sentences":
            raise ValueError(
                'text.document = "blank-line" belongs to batches.kind = "stream"; sentences start every line from a '
                'zero state, as text.document = "line" says'
            )
        return self
