"""Scores of lines and of n-best lists, equal to those of `recurlm score` and `recurlm rescore`."""

import dataclasses
from typing import Any

from fastapi import APIRouter, Request, Response

from recurlm.evaluation.perplexity import finite
from recurlm.scoring.scorer import ScoringOptions, scoring_options
from recurlm.scoring.scores import LineScore
from recurlm.serving.bodies.scores import RescoreAnswer, RescoreRequest, ScoreAnswer, ScoreRequest
from recurlm.serving.completion import check_most, check_told
from recurlm.serving.context import Context, Served
from recurlm.serving.errors import RequestError, json_answer
from recurlm.serving.middleware import note
from recurlm.serving.models import ServedModel
from recurlm.serving.requests import BoundedRoute, awaited
from recurlm.serving.rescoring import rescored
from recurlm.serving.routes.answers import COMPUTES, errors
from recurlm.serving.scoring import Patience, in_scoring_thread
from recurlm.text.codec import Codec

router = APIRouter(route_class=BoundedRoute, tags=["scores"])


@router.post("/score", response_model=ScoreAnswer, responses=errors(COMPUTES))
async def score(body: ScoreRequest, request: Request, context: Served) -> Response:
    """Log-probability of every token of every line, in nats, with the signature of the score."""
    served, options = context.model(body.model), context.options
    check_most(len(body.lines), options.lines, "lines")
    check_most(body.likeliest, options.logprobs, "likeliest")
    for number, line in enumerate(body.lines):
        if "\n" in line:
            raise RequestError(400, f"lines.{number}: contains a line feed; give each line apart", param="lines")
    note(request.scope, model=served.name, lines=len(body.lines))
    if options.log_texts:
        note(request.scope, texts=body.lines)
    predictions = body.predictions or body.likeliest > 0
    asked = scoring_options(body.context, body.after, body.unit, body.oov, "fp32", predictions=predictions)
    asked = dataclasses.replace(asked, alternatives=body.likeliest)
    work = in_scoring_thread(
        served, options.queue, lambda patience: _scored(body.lines, asked, served, context, patience)
    )
    return Response(await awaited(request, work, options.seconds), media_type="application/json")


@router.post("/rescore", response_model=RescoreAnswer, responses=errors(COMPUTES))
async def rescore(body: RescoreRequest, request: Request, context: Served) -> Response:
    """Ranks the hypotheses of an n-best list by this model and by their own scores."""
    served, options = context.model(body.model), context.options
    check_most(len(body.hypotheses), options.hypotheses, "hypotheses")
    note(request.scope, model=served.name, hypotheses=len(body.hypotheses))
    if options.log_texts:
        note(request.scope, texts=[each.text for each in body.hypotheses])
    work = in_scoring_thread(served, options.queue, lambda _: json_answer(rescored(body, served, options)))
    return Response(await awaited(request, work, options.seconds), media_type="application/json")


def _scored(lines: list[str], asked: ScoringOptions, served: ServedModel, context: Context, patience: Patience) -> str:
    """The answer as JSON, made in the scoring thread, since it may be long."""
    codec = served.model.codec
    most = context.options.line_tokens
    tokens = sum(1 + sum(1 for _ in codec.tokenization.split(line)) for line in lines)
    check_most(tokens, most, "lines", "tokens")
    check_told(tokens, asked.alternatives, context.options, "likeliest")
    scorer = served.model.scorer(options=asked)
    told = [_line(each, codec, asked) for each in patience.watch(scorer.lines(lines))]
    totals = scorer.totals
    context.metrics.scored_tokens.labels(served.name).inc(totals.tokens)
    return json_answer(
        {
            "model": served.name,
            "lines": told,
            "perplexity": finite(totals.perplexity),
            "tokens": totals.tokens,
            "oov": totals.oov,
            "signature": scorer.signature(),
        }
    )


def _line(score: LineScore, codec: Codec, asked: ScoringOptions) -> dict[str, Any]:
    """The object that `score --json` prints for a line, with the predictions where they are asked for."""
    told = score.to_json()
    if asked.predictions:
        for token, scored in zip(told["tokens"], score.tokens, strict=True):
            prediction = scored.prediction
            token |= {
                "entropy": None if prediction is None else prediction.entropy,
                "rank": None if prediction is None else prediction.rank,
            }
            if asked.alternatives and prediction is not None and scored.logprob is not None:
                token["likeliest"] = [
                    {"token": codec.vocabulary.tokens[index], "logprob": scored.logprob + more}
                    for index, more in prediction.likeliest
                ]
    return told
