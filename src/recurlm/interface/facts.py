"""What Python and a notebook show of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recurlm.text.tokenization import PLURALS

if TYPE_CHECKING:
    from recurlm.interface.model import Model


def facts(model: Model) -> list[tuple[str, str]]:
    """Names and facts, in the order in which they are shown."""
    found = [
        ("network", model.recipe.model.layers_in_words),
        ("parameters", f"{model.network.parameter_count():,}"),
        ("vocabulary", f"{len(model.codec.vocabulary):,} {PLURALS[model.recipe.text.unit]}"),
    ]
    learned = model.corpus is not None and model.corpus.source
    return [*found, ("learned from", learned)] if learned else found
