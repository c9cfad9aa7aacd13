"""The routes of the page: its files, the runs of the folder, and training."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from recurlm.errors import InputError
from recurlm.inspection.reading import name_of
from recurlm.recipe_files import load_recipe, recipe_names
from recurlm.serving.bodies.base import ErrorBody
from recurlm.serving.context import Served
from recurlm.serving.errors import RequestError
from recurlm.serving.requests import BoundedRoute, awaited
from recurlm.serving.routes.answers import CHOOSES, COMPUTES, READS, READS_BODY, Responses, errors
from recurlm.serving.scoring import in_scoring_thread
from recurlm.studio.bodies import (
    ChoicesAnswer,
    DistributionAnswer,
    DistributionRequest,
    ResumeRequest,
    RunsAnswer,
    TrainingAnswer,
    TrainRequest,
)
from recurlm.studio.distribution import distribution
from recurlm.studio.folder import StudioFolder
from recurlm.studio.following import metrics_events
from recurlm.studio.opened import OpenedModels
from recurlm.studio.training import Training, TrainingBusyError, Trainings
from recurlm.text.corpora import named_corpora
from recurlm.text.listing import listed
from recurlm.text.places import DataPlaces
from recurlm.version import CODE_VERSION

TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
CONFLICT: Responses = {409: {"model": ErrorBody, "description": "A training runs already, or the name is taken."}}
router = APIRouter(route_class=BoundedRoute, tags=["studio"])


class Studio:
    """The parts behind the page."""

    def __init__(self, folder: StudioFolder, models: OpenedModels) -> None:
        self.folder, self.models, self.trainings = folder, models, Trainings(folder)

    def close(self) -> None:
        """Stops the training, after a checkpoint, and closes the models."""
        self.trainings.close()
        self.models.close()


def studio_of(request: Request) -> Studio:
    """The parts behind the page that a request reached."""
    studio: Studio = request.app.state.studio
    return studio


Parts = Annotated[Studio, Depends(studio_of)]


@cache
def page_files() -> dict[str, Response]:
    """The files of the page by name."""
    found = {
        each.name: each.read_bytes() for each in files("recurlm.studio").joinpath("page").iterdir() if each.is_file()
    }
    kinds = {name: TYPES.get(name[name.rfind(".") :]) for name in found}
    headers = {"Cache-Control": "no-cache"}
    return {name: Response(found[name], media_type=kind, headers=headers) for name, kind in kinds.items() if kind}


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return page_files()["index.html"]


@router.get("/page/{name}", include_in_schema=False)
async def page_file(name: str) -> Response:
    """A file that the page needs."""
    if name not in page_files():
        raise RequestError(404, f"{name}: the page has no such file")
    return page_files()[name]


@router.get("/choices", responses=errors(READS))
def choices(studio: Parts) -> ChoicesAnswer:
    """What can be trained: recipes and corpora."""
    recipes = {name: load_recipe(name) for name in recipe_names()}
    places = DataPlaces.from_environment()
    corpora = [listed(corpus, places) for corpus in named_corpora().values()]
    return ChoicesAnswer(
        folder=str(studio.folder.directory),
        is_run=studio.folder.is_run,
        version=CODE_VERSION,
        recipes=[
            {"name": name, "description": recipe.description, "corpus": recipe.corpus or ""}
            for name, recipe in recipes.items()
        ],
        corpora=[
            {"name": each.corpus.name, "description": each.corpus.description, "at_hand": each.availability}
            for each in corpora
        ],
    )


@router.get("/runs", responses=errors(READS))
def runs(studio: Parts) -> RunsAnswer:
    """The runs of the folder, newest first."""
    return RunsAnswer(**studio.folder.listing())


@router.get("/runs/{name}", responses=errors(CHOOSES))
def run(name: str, studio: Parts) -> dict[str, Any]:
    """One run, as `recurlm show --json` tells it."""
    _check_run(studio, name)
    return studio.folder.summary(name)


@router.post("/runs/{name}/open", responses=errors(CHOOSES))
def open_run(name: str, studio: Parts) -> dict[str, Any]:
    """Loads the model of a run, so that requests may name it as `model`."""
    _check_run(studio, name)
    model = studio.models[name].model
    tokenization, tokens = model.codec.tokenization, model.codec.vocabulary.tokens
    named = {token: name_of(token, tokenization) for token in tokens} if tokenization.unit == "bpe" else {}
    return {"name": name, "unit": tokenization.unit, "vocabulary": list(tokens), "names": named}


@router.get(
    "/runs/{name}/metrics",
    response_class=Response,
    responses=errors(CHOOSES, {"content": {"text/event-stream": {"schema": {"type": "string"}}}}),
)
def metrics(
    name: str,
    studio: Parts,
    last_event_id: Annotated[str, Header()] = "",
    after: Annotated[int, Query(ge=0, description="Line to go on after, where no Last-Event-ID is sent.")] = 0,
    follow: Annotated[bool, Query(description="Whether to wait for further lines while the run trains.")] = True,
) -> Response:
    """The lines of metrics.jsonl as server-sent events; goes on after the line that Last-Event-ID names."""
    _check_run(studio, name)
    if last_event_id.isascii() and last_event_id.isdigit():
        after = int(last_event_id[:15])
    events = metrics_events(studio.folder, name, after, follow=follow)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.post("/distribution", responses=errors(COMPUTES))
async def next_token(body: DistributionRequest, request: Request, context: Served) -> DistributionAnswer:
    """What may come after a text: the model's own probabilities, and those with which the options draw."""
    served, options = context.model(body.model), context.options
    work = in_scoring_thread(served, options.queue, lambda _: distribution(body, served, options))
    return await awaited(request, work, options.seconds)


@router.get("/training", responses=errors(READS))
def training(studio: Parts) -> TrainingAnswer:
    """The training that the page has started, and what it has written."""
    return _told(studio.trainings.last)


@router.post("/training", responses=errors(READS_BODY) | CONFLICT)
def train(body: TrainRequest, studio: Parts) -> TrainingAnswer:
    """Starts `recurlm train` for a new run."""
    if body.text is not None and body.corpus is not None:
        raise RequestError(400, "text and corpus are both given; leave out one of the two", param="corpus")
    _check_choice("corpus", body.corpus, named_corpora())
    _check_choice("recipe", body.recipe, recipe_names())
    if studio.folder.is_run:
        raise RequestError(409, f"{studio.folder.directory} is itself a run; open the folder above it to train others")
    if _path(studio, body.name).exists():
        raise RequestError(409, f"{body.name} exists already; choose another name", param="name")
    with _busy_is_conflict():
        studio.trainings.check_free()
        text = body.corpus
        if body.text is not None:
            text = str(studio.trainings.save_text(body.name, body.text))
        begun = studio.trainings.start(body.name, text, recipe=body.recipe, unit=body.unit, time=body.time_limit)
    return _told(begun)


@router.post("/training/resume", responses=errors(READS_BODY) | CONFLICT)
def resume(body: ResumeRequest, studio: Parts) -> TrainingAnswer:
    """Goes on with a stopped run: `recurlm train --resume`."""
    _check_run(studio, body.name)
    with _busy_is_conflict():
        return _told(studio.trainings.resume(body.name, body.time_limit))


@router.post("/training/stop", responses=errors(READS))
def stop(studio: Parts) -> TrainingAnswer:
    """Asks the training to write a checkpoint and end."""
    studio.trainings.stop()
    return _told(studio.trainings.last)


def _told(training: Training | None) -> TrainingAnswer:
    return TrainingAnswer() if training is None else TrainingAnswer(**training.to_json())


def _path(studio: Studio, name: str) -> Path:
    try:
        return studio.folder.path(name)
    except InputError as error:
        raise RequestError(400, str(error), param="name") from error


def _check_run(studio: Studio, name: str) -> None:
    try:
        studio.folder.run(name)
    except InputError as error:
        raise RequestError(404, str(error), param="name") from error


def _check_choice(field: str, chosen: str | None, known: Collection[str]) -> None:
    if chosen is not None and chosen not in known:
        raise RequestError(400, f"{field}: {chosen!r} is none of {', '.join(known)}", param=field)


@contextmanager
def _busy_is_conflict() -> Iterator[None]:
    try:
        yield
    except TrainingBusyError as error:
        raise RequestError(409, str(error), code="training") from error
