"""The description of a search, search.json: what decides its trials, held against what the user asks for."""

from pathlib import Path
from typing import Any

from recurlm.config import Recipe
from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import read_bounded
from recurlm.recipe_files import differing_keys, parse_recipe, parse_recorded_recipe
from recurlm.runs.config import RunConfig
from recurlm.search.search_space import Dimension
from recurlm.text.corpora import open_source
from recurlm.training.request import TrainingRequest

SEARCH_FORMAT = "recurlm search 1"
SEARCH_FILE = "search.json"


def text_digests(config: RunConfig, request: TrainingRequest) -> dict[str, str]:
    """SHA-256 of the texts that a search reads. Raises InputError if none of them may decide."""
    if config.recipe.validation.split != "valid":
        raise InputError(
            "the recipe validates on the test text, which no choice may rest on; add --set validation.split=valid"
        )
    corpus = open_source(request.text or config.source, request.places, field=request.field)
    if corpus.valid is None:
        raise InputError(f"{corpus.name}: has no valid text to choose by; put valid.txt beside the training text")
    return {"train": corpus.train.sha256, "valid": corpus.valid.sha256}


def describe(config: RunConfig, space: tuple[Dimension, ...], texts: dict[str, str]) -> dict[str, Any]:
    """The content of search.json; `texts` are the digests of its texts."""
    return {
        "format": SEARCH_FORMAT,
        "text": config.source,
        "digests": texts,
        "vary": [str(dimension) for dimension in space],
        "seed": config.seed,
        "device": config.device,
        "precision": config.precision,
        "recipe": config.recipe.model_dump(mode="json"),
    }


def resumed_recipe(folder: Path, asked: dict[str, Any], *, resume: bool) -> Recipe:
    """The recipe that a search was begun with.

    Raises InputError if the folder holds another search than the one that is `asked` for, or without `resume`.
    """
    path = folder / SEARCH_FILE
    if not resume:
        raise InputError(f"{folder} already holds a search; add --resume to go on with it, or name another --out")
    recorded = parse_json_object(read_bounded(path, error=CorruptFileError), str(path), file_names=True)
    if not isinstance(recorded.get("recipe"), dict):
        raise CorruptFileError(f"{path}: holds no recipe; start the search again in another folder")
    recipe = parse_recorded_recipe(recorded["recipe"], str(path))
    differing = [key for key, value in asked.items() if key != "recipe" and recorded.get(key) != value]
    differing += differing_keys(parse_recipe(asked["recipe"], "the command"), recorded["recipe"])
    if differing:
        raise InputError(
            f"{folder}: was begun with another {differing[0]}; give the same command, or name another --out"
        )
    return recipe
