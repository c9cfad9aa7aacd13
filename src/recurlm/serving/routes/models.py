"""The models that are served."""

from fastapi import APIRouter

from recurlm.serving.bodies.status import ModelCard, ModelList
from recurlm.serving.context import Served
from recurlm.serving.models import ServedModel
from recurlm.serving.requests import BoundedRoute
from recurlm.serving.routes.answers import READS, errors

router = APIRouter(prefix="/v1/models", route_class=BoundedRoute, tags=["models"])


@router.get("", responses=errors(READS))
async def models(context: Served) -> ModelList:
    """Lists the served models."""
    return ModelList(data=[_card(served) for served in context.models.values()])


@router.get("/{model}", responses=errors((401, 404)))
async def model(model: str, context: Served) -> ModelCard:
    """Describes one served model."""
    return _card(context.model(model))


def _card(served: ServedModel) -> ModelCard:
    model = served.model
    return ModelCard(
        id=served.name,
        created=served.started,
        digest=model.digest,
        unit=model.codec.tokenization.unit,
        vocabulary=len(model.codec.vocabulary),
        parameters=model.network.parameter_count(),
    )
