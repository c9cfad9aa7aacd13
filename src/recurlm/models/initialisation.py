"""Initial weights, drawn from torch's global generator."""

from torch import nn

from recurlm.config import OrthogonalInitialisation, UniformInitialisation, XavierInitialisation
from recurlm.models.cell import Cell
from recurlm.models.language_model import LanguageModel
from recurlm.models.lstm_cells import LayerNormLSTMCell, MemoryCell


def initialise(
    model: LanguageModel, options: XavierInitialisation | UniformInitialisation | OrthogonalInitialisation
) -> None:
    """Draws all weights as the recipe asks."""
    if isinstance(options, UniformInitialisation):
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -options.scale, options.scale)
    elif isinstance(options, XavierInitialisation):
        _xavier(model, options)
    else:
        _orthogonal(model, options)
    _reset_gains(model)


def _xavier(model: LanguageModel, options: XavierInitialisation) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            bound = (options.magnitude / parameter.shape[1]) ** 0.5
            nn.init.uniform_(parameter, -bound, bound)
        else:
            nn.init.zeros_(parameter)
    _open_forget_gates(model, options.forget_bias)


def _orthogonal(model: LanguageModel, options: OrthogonalInitialisation) -> None:
    scale = options.embedding_scale
    nn.init.uniform_(model.embedding.weight, -scale, scale)
    for parameter in model.decoder.parameters():
        if parameter.dim() > 1:
            nn.init.uniform_(parameter, -scale, scale)
        else:
            nn.init.zeros_(parameter)
    for cell in model.stack.cells:
        _orthogonal_cell(cell)
    _open_forget_gates(model, options.forget_bias)


def _orthogonal_cell(cell: Cell) -> None:
    for name, parameter in cell.named_parameters():
        if name == "weight_hh":
            for gate in parameter.detach().chunk(cell.gates):
                nn.init.orthogonal_(gate)
        elif parameter.dim() > 1:
            bound = (1 / parameter.shape[1]) ** 0.5
            nn.init.uniform_(parameter, -bound, bound)
        else:
            nn.init.zeros_(parameter)


def _open_forget_gates(model: LanguageModel, bias: float) -> None:
    """Sets the forget gates' bias, so that the memory passes at first (Gers et al. 2000, Jozefowicz et al. 2015).

    MXNet sets the same bias, also in one of the two bias vectors.
    """
    for cell in model.stack.cells:
        if isinstance(cell, MemoryCell):
            nn.init.constant_(cell.bias_ih[cell.forget_rows], bias)


def _reset_gains(model: LanguageModel) -> None:
    """Sets the gains of layer normalization to ones, under every recipe (Ba et al. 2016)."""
    for cell in model.stack.cells:
        if isinstance(cell, LayerNormLSTMCell):
            for gain in cell.gains:
                nn.init.ones_(gain)
