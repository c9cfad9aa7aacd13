"""An n-best list of a request in a new order."""

from typing import Any

from recurlm.models.memory import State, initial_state
from recurlm.rescoring.combination import Combination, combination_for
from recurlm.rescoring.nbest import Hypothesis, NBestFile, NBestList
from recurlm.rescoring.rescorer import rescore_after
from recurlm.serving.bodies.scores import HypothesisBody, NBestRequest
from recurlm.serving.completion import check_most
from recurlm.serving.errors import RequestError
from recurlm.serving.models import ServedModel
from recurlm.serving.options import ServerOptions
from recurlm.text.lines import words_of
from recurlm.text.unknown import UnknownRule

SCORES = ("acoustic", "language", "graph")


def rescored(
    body: NBestRequest, served: ServedModel, options: ServerOptions, state: State | None = None
) -> dict[str, Any]:
    """The hypotheses after a state, or as whole texts, with their scores, best first, and the options.

    Raises RequestError and UsageError.
    """
    file = nbest_file(body.hypotheses)
    combination = _combination(file, body)
    codec = served.model.codec
    tokens = sum(1 + sum(1 for _ in codec.tokenization.split(each.text)) for each in file.hypotheses)
    check_most(tokens, options.line_tokens, "hypotheses", "tokens")
    model, (nbest,) = served.model, file.lists
    start = state or initial_state(model.network, model.digest)
    rule = UnknownRule.parse(body.oov)
    result = rescore_after(model.network, codec, nbest, combination, start, rule=rule)
    ranked = [each.to_json(rank) for rank, each in enumerate(result.ranked, 1)]
    for each in ranked:
        del each["utterance"]
    return {"model": served.name, "hypotheses": ranked, "options": combination.to_json()}


def nbest_file(given: list[HypothesisBody]) -> NBestFile:
    """The hypotheses as a list read from a file. Raises RequestError where only some have a score of one kind."""
    for name in SCORES:
        lacking = [number for number, each in enumerate(given) if getattr(each, name) is None]
        if 0 < len(lacking) < len(given):
            place = f"hypotheses.{lacking[0]}"
            raise RequestError(400, f"{place}: no {name} score, which other hypotheses have", param=place)
    return NBestFile((NBestList("", tuple(map(_hypothesis, range(len(given)), given))),), "jsonl", "the request")


def _hypothesis(number: int, given: HypothesisBody) -> Hypothesis:
    place = f"hypotheses.{number}"
    if "\n" in given.text:
        raise RequestError(400, f"{place}: the words contain a line feed; a hypothesis is one line", param=place)
    acoustic, language, graph = (None if score is None else -score for score in map(given.__getattribute__, SCORES))
    return Hypothesis("", number + 1, " ".join(words_of(given.text)), acoustic, language, graph, place)


def _combination(file: NBestFile, body: NBestRequest) -> Combination:
    return combination_for(
        file,
        weight=body.weight,
        acoustic_scale=body.acoustic_scale,
        lm_scale=body.lm_scale,
        length_bonus=body.length_bonus,
    )
