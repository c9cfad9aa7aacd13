"""The schema of a recipe: frozen, strict, and each key documented once. `recurlm.recipe_files` reads recipes."""

from recurlm.config.average import Average, ExponentialAverage, NoAverage, NonMonotoneAverage, TailAverage
from recurlm.config.batches import Batches, SentenceBatches, StreamBatches
from recurlm.config.initialisation import (
    Initialisation,
    OrthogonalInitialisation,
    UniformInitialisation,
    XavierInitialisation,
)
from recurlm.config.model import (
    LSTM_KINDS,
    PARALLEL_KINDS,
    QRNN,
    CellKind,
    Dropout,
    InputGate,
    ModelOptions,
    Mogrifier,
)
from recurlm.config.optimizer import SGD, Adam, Muon, Optimizer, RMSProp
from recurlm.config.output import AdaptiveOutput, MixtureOutput, Output, SampledOutput, SoftmaxOutput
from recurlm.config.recipe import Recipe
from recurlm.config.schedule import (
    ConstantSchedule,
    CosineSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)
from recurlm.config.section import Section, kind_names, sections
from recurlm.config.text import DocumentRule, TextOptions
from recurlm.config.training import Training, Validation

__all__ = [
    "LSTM_KINDS",
    "PARALLEL_KINDS",
    "QRNN",
    "SGD",
    "Adam",
    "AdaptiveOutput",
    "Average",
    "Batches",
    "CellKind",
    "ConstantSchedule",
    "CosineSchedule",
    "DocumentRule",
    "Dropout",
    "ExponentialAverage",
    "Initialisation",
    "InputGate",
    "MixtureOutput",
    "ModelOptions",
    "Mogrifier",
    "Muon",
    "NoAverage",
    "NonMonotoneAverage",
    "OneCycleSchedule",
    "Optimizer",
    "OrthogonalInitialisation",
    "Output",
    "PlateauSchedule",
    "RMSProp",
    "Recipe",
    "SampledOutput",
    "Schedule",
    "Section",
    "SentenceBatches",
    "SoftmaxOutput",
    "StepSchedule",
    "StreamBatches",
    "TailAverage",
    "TextOptions",
    "Training",
    "UniformInitialisation",
    "Validation",
    "XavierInitialisation",
    "kind_names",
    "sections",
]
