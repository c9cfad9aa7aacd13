"""The distribution of the next token, before and after the options of sampling."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recurlm.generation.endings import Ending
from recurlm.generation.sampling import SamplingOptions, after_prompt, drawn_probabilities
from recurlm.generation.text_generator import prompt_ids
from recurlm.serving.completion import check_most, sampling_of
from recurlm.serving.models import ServedModel
from recurlm.serving.options import ServerOptions
from recurlm.serving.prompts import check_ids
from recurlm.studio.bodies import DistributionAnswer, DistributionRequest, NextToken


def distribution(body: DistributionRequest, served: ServedModel, limits: ServerOptions) -> DistributionAnswer:
    """What may come next. Raises RequestError and InputError for a prompt that the model cannot read."""
    codec = served.model.codec
    given = body.prompt
    ids = prompt_ids(codec, given) if isinstance(given, str) else check_ids(codec, given, "prompt")
    check_most(len(ids), limits.prompt_tokens, "prompt", "tokens")
    own, drawn = _probabilities(served, ids, sampling_of(body, served, Ending()))
    told = torch.maximum(own, drawn).topk(min(body.likeliest, len(own))).indices
    told = told[own[told].argsort(descending=True, stable=True)]
    tokens = [
        NextToken(token=codec.vocabulary.tokens[index], id=index, probability=float(own[index]), drawn=drawn_share)
        for index, drawn_share in zip(told.tolist(), drawn[told].tolist(), strict=True)
    ]
    drawable = int((drawn > 0).sum())
    return DistributionAnswer(
        model=served.name, ids=tuple(ids), tokens=tokens, drawable=drawable, vocabulary=len(codec.vocabulary)
    )


@torch.no_grad()
def _probabilities(served: ServedModel, ids: Sequence[int], options: SamplingOptions) -> tuple[Tensor, Tensor]:
    """Probabilities (V,) of the next token: the model's own, and those with which the options draw."""
    logits = after_prompt(served.model.network, ids, None, 1)[0].float().cpu()
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    seen[0, list(ids)] = True
    return logits.softmax(-1)[0], drawn_probabilities(logits, options, seen)[0]
