"""Readers of the files that this program writes: recipes, run folders, states, prepared texts, searches."""

import contextlib
import hashlib
import io
import json
import math
import shutil
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import recurlm
from fuzz.mutate import Form, json_document, json_lines, safetensors_file
from fuzz.reader import Reader, once
from recurlm.cli.runs import runs
from recurlm.cli.show import show
from recurlm.config import TextOptions
from recurlm.errors import CorruptFileError, InputError, RecurlmError, RecurlmWarning
from recurlm.files import sealed
from recurlm.models.language_model import LanguageModel
from recurlm.mxnet.importing import import_model
from recurlm.plots.run_log import RunLog
from recurlm.recipe_files import load_recipe, recipe_text, recipe_toml
from recurlm.runs.checkpoints import read_checkpoint
from recurlm.runs.computation import changed_computation
from recurlm.runs.folder import RunFolder
from recurlm.runs.listing import list_runs
from recurlm.runs.metrics import read_metrics
from recurlm.runs.verification import verify
from recurlm.search.description import SEARCH_FILE, resumed_recipe
from recurlm.search.search_space import parse_variation
from recurlm.search.study import Study, Trial
from recurlm.tensor_files import tensors
from recurlm.text.codec import Codec
from recurlm.text.corpora import open_source
from recurlm.text.sources import Corpus
from recurlm.text.store import _read, prepare
from recurlm.text.tokenization import BytePairs
from recurlm.text.vocabulary import EOS, Vocabulary
from recurlm.training.checkpointing import restore_random_state, state_from_tensors
from recurlm.training.counters import Counters
from recurlm.training.journal import Journal
from recurlm.training.opening import open_run
from recurlm.training.optimizers import build_optimizer, restore_optimizer
from recurlm.training.request import TrainingRequest

FIXTURES = Path(__file__).parents[1] / "fixtures"
OLD = FIXTURES / "0.1.0"
RECIPE_WORDS = (
    *(b"[model]", b"[text]", b"[[text]]", b"[model.dropout]", b"[a.b.c]", b"kind = ", b"a.b.c.d = 1", b"true", b"'''"),
    *(b'"lstm"', b'"bpe"', b'["lstm", "gru"]', b"[1, [2]]", b"{a = 1}", b"1979-05-27", b"07:32:00", b"0xff", b"inf"),
)
JSON = Form(json_document)
SENTENCE = "the red fruit is a lemon"


def _fit(folder: Path, name: str, content: bytes) -> None:
    """Write a file and its digest into the folder's manifest, as somebody does who means to deceive."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _left_out(content: bytes) -> bool:
    """Three of four inputs; what takes long is done with the fourth."""
    return zlib.crc32(content) % 4 != 0


def _refused_altered(original: Path, copy: Path, name: str, content: bytes, read: Callable[[], object]) -> None:
    """The file without its digest in the manifest must be noticed."""
    before = (original / name).read_bytes()
    if content == before or _left_out(content):
        return
    (copy / name).write_bytes(content)
    try:
        read()
    except CorruptFileError:
        return
    finally:
        (copy / name).write_bytes(before)
    raise AssertionError(f"an altered {name} was believed")


@cache
def _old_model() -> recurlm.Model:
    return recurlm.load(OLD / "run")


@cache
def _imported() -> dict[str, bytes]:
    """The files of a run as this version writes them: a model of MXNet."""
    with TemporaryDirectory() as folder:
        model = FIXTURES / "mxnet" / "gru_fused"
        run = Path(folder) / "run"
        import_model(str(model / "model"), 1, model / "vocab.json", run)
        return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


def _run_seeds(name: str) -> Callable[[], list[bytes]]:
    return lambda: [(OLD / "run" / name).read_bytes()]


def _recipe_seeds() -> list[bytes]:
    names = ("demo", "mxnet-bucketing", "default")
    return [recipe_text(name)[0].encode() for name in names] + [recipe_toml(load_recipe("demo")).encode()]


def _check_recipe(content: bytes, folder: Path) -> None:
    path, again = folder / "mine.toml", folder / "again.toml"
    path.write_bytes(content)
    recipe = load_recipe(str(path))
    again.write_text(recipe_toml(recipe), "utf-8")
    assert load_recipe(str(again)) == recipe, "another recipe when written and read again"


def _change_seeds() -> list[bytes]:
    return [
        b"training.epochs=3",
        b'model.cell="gru"',
        b"model.hidden_sizes=[8, 8]",
        b"model.dropout.input=0.25",
        b"optimizer.kind=sgd",
    ]


def _check_change(content: bytes, folder: Path) -> None:
    recipe = load_recipe("demo", [content.decode("utf-8", "surrogateescape")])
    again = folder / "again.toml"
    again.write_text(recipe_toml(recipe), "utf-8")
    assert load_recipe(str(again)) == recipe, "another recipe when written and read again"


def _check_config(content: bytes, folder: Path) -> None:
    run = once(lambda place: shutil.copytree(OLD / "run", place), folder / "run-of-config")
    original = OLD / "run"
    shutil.copy(original / "manifest.json", run)
    _refused_altered(original, run, "config.json", content, RunFolder(run).config)
    _fit(run, "config.json", content)
    with contextlib.suppress(RecurlmError):
        open_run(TrainingRequest(out=run, resume=True))
        changed_computation(RunFolder(run), "cpu")
    if not _left_out(content):
        verify(RunFolder(run))
    _check_model(recurlm.load(run))


def _check_model(model: recurlm.Model) -> None:
    assert all(bool(weight.isfinite().all()) for weight in model.network.weights().values()), "weights not finite"
    _check_tokens(model.codec.vocabulary.tokens)
    logprob = model.score([SENTENCE])[0].logprob
    assert logprob <= 0, f"a logarithm of a probability of {logprob}"


def _check_tokens(tokens: tuple[str, ...]) -> None:
    assert tokens[0] == EOS, "id 0 is not <eos>"
    assert len(set(tokens)) == len(tokens), "a token stands twice"


def _check_manifest(content: bytes, folder: Path) -> None:
    run = once(lambda place: shutil.copytree(OLD / "run", place), folder / "run-of-manifest")
    (run / "manifest.json").write_bytes(content)
    refusals = []
    for name in ("config.json", "vocabulary.json", "model.safetensors", "metrics.jsonl"):
        try:
            assert RunFolder(run).read(name) == (OLD / "run" / name).read_bytes(), f"another {name}"
        except RecurlmError as error:
            refusals.append(error)
    RunFolder(run).write({"training.svg": b"<svg/>"})
    if not _left_out(content):
        verify(RunFolder(run))
    if refusals:
        raise refusals[0]
    _check_model(recurlm.load(run))


def _check_vocabulary(content: bytes, folder: Path) -> None:
    run = once(lambda place: shutil.copytree(OLD / "run", place), folder / "run-of-vocabulary")
    shutil.copy(OLD / "run" / "manifest.json", run)
    _refused_altered(OLD / "run", run, "vocabulary.json", content, RunFolder(run).codec)
    _fit(run, "vocabulary.json", content)
    codec = RunFolder(run).codec()
    _check_tokens(codec.vocabulary.tokens)
    written = codec.files()["vocabulary.json"]
    assert Vocabulary.from_json(written, "again") == (codec.vocabulary, codec.tokenization.unit)
    _check_model(recurlm.load(run))


@cache
def _tokenizer_files() -> dict[str, str]:
    tokenization = BytePairs.train([SENTENCE, "the yellow fruit is sweet", "h\u00e9llo \u4e16\u754c"] * 3, 280)
    return Codec(tokenization, Vocabulary((EOS, *tokenization.pieces))).files()


def _tokenizer_seeds() -> list[bytes]:
    return [_tokenizer_files()["tokenizer.json"].encode()]


def _check_tokenizer(content: bytes, folder: Path) -> None:
    place = folder / "tokenizer"
    place.mkdir(exist_ok=True)
    (place / "vocabulary.json").write_text(_tokenizer_files()["vocabulary.json"], "utf-8")
    (place / "tokenizer.json").write_bytes(content)
    codec = Codec.load(place)
    lines = f"{SENTENCE}\n\nh\u00e9llo  x"
    ids, tokens, missing = codec.line(lines.replace("\n", " "))
    assert len(ids) == len(tokens) == len(missing)
    assert all(0 <= index < len(codec.vocabulary) for index in ids), "an id beyond the vocabulary"
    assert codec.tokenization.join(list(codec.tokenization.split(lines))).encode(), "nothing comes back"


def _checkpoint() -> Path:
    return next((OLD / "stopped" / "checkpoints").iterdir())


def _counters_seeds() -> list[bytes]:
    return [(_checkpoint() / "counters.json").read_bytes(), Counters(best_nats=2.5, validations=[3.0, 2.5]).to_json()]


def _copied_checkpoint(folder: Path, name: str) -> Path:
    """A copy of the checkpoint that version 0.1.0 left, for a reader of the file of this name."""
    place = once(lambda place: shutil.copytree(_checkpoint(), place), folder / f"checkpoint-{name}")
    for each in ("manifest.json", name):
        shutil.copy(_checkpoint() / each, place)
    return place


def _check_counters(content: bytes, folder: Path) -> None:
    place = _copied_checkpoint(folder, "counters.json")
    _refused_altered(_checkpoint(), place, "counters.json", content, lambda: read_checkpoint(place))
    _fit(place, "counters.json", content)
    counters = Counters.from_json(read_checkpoint(place)["counters.json"])
    assert Counters.from_json(counters.to_json()) == counters, "other counters when written and read again"
    assert all(each >= 0 for each in (counters.epoch, counters.index, counters.step, counters.tokens, counters.seconds))


def _check_optimizer(content: bytes, folder: Path) -> None:
    recipe = RunFolder(OLD / "stopped").recipe()
    place = _copied_checkpoint(folder, "optimizer.safetensors")
    _refused_altered(_checkpoint(), place, "optimizer.safetensors", content, lambda: read_checkpoint(place))
    network = LanguageModel(recipe.model, len(_old_model().codec.vocabulary))
    optimizer = build_optimizer(recipe.optimizer, network)
    restore_optimizer(optimizer, tensors(content, place / "optimizer.safetensors"))
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def _check_carried_state(content: bytes, folder: Path) -> None:
    place = _copied_checkpoint(folder, "state.safetensors")
    _refused_altered(_checkpoint(), place, "state.safetensors", content, lambda: read_checkpoint(place))
    saved = tensors(content, place / "state.safetensors")
    state = state_from_tensors(saved, _old_model().network, place)
    restore_random_state(saved, place)
    if state is not None:
        columns = len(state[0][0])
        _old_model().network.hidden(torch.zeros((1, columns), dtype=torch.long), state)


def _check_weights(content: bytes, folder: Path) -> None:
    run = once(lambda place: shutil.copytree(OLD / "run", place), folder / "run-of-weights")
    shutil.copy(OLD / "run" / "manifest.json", run)
    _refused_altered(OLD / "run", run, "model.safetensors", content, lambda: RunFolder(run).read("model.safetensors"))
    _fit(run, "model.safetensors", content)
    _check_model(recurlm.load(run))


def _state_seeds() -> list[bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "made.state"
        _old_model().read(SENTENCE).save(path)
        return [(OLD / "after-the-red-fruit.state").read_bytes(), path.read_bytes()]


def _check_state(content: bytes, folder: Path) -> None:
    path, again = folder / "x.state", folder / "again.state"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecurlmWarning)
        state = recurlm.State.load(path)
    logprob = _old_model().score(["is a lemon"], state=state)[0].logprob
    assert logprob <= 0, f"a logarithm of a probability of {logprob}"
    state.save(again)
    assert recurlm.State.load(again) == state, "another state when written and read again"


def _check_metrics(content: bytes, folder: Path) -> None:
    run = once(lambda place: shutil.copytree(OLD / "run", place), folder / "run-of-metrics")
    (run / "metrics.jsonl").write_bytes(content)
    with Journal(run / "metrics.jsonl").open_at(step=5, epochs=1):
        pass
    (run / "metrics.jsonl").write_bytes(content)
    changed_computation(RunFolder(run), "cpu")
    read_metrics(run)
    log = RunLog(run)
    for points in (log.losses, log.validations):
        assert points == sorted(points)
        assert all(math.isfinite(step) and math.isfinite(value) for step, value in points)
    assert log.summary
    assert log.estimated in (True, False)


def _described_run(name: str, describe: Callable[[Path], None]) -> Callable[[bytes, Path], None]:
    """A reader of a file of a run, whose digest is that of the file, by a command that describes runs."""

    def check(content: bytes, folder: Path) -> None:
        run = once(lambda place: shutil.copytree(OLD / "run", place), folder / "described" / "run")
        for each in ("config.json", "metrics.jsonl", "manifest.json"):
            shutil.copy(OLD / "run" / each, run)
        _fit(run, name, content)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            describe(run)

    return check


def _list(run: Path) -> None:
    listing = list_runs(run.parent)
    assert len(listing.runs) + len(listing.problems) == 1, "a run is listed or named as damaged"
    assert not any("\n" in problem for problem in listing.problems), "a problem has one line"
    runs(run.parent)
    runs(run.parent, as_json=True)
    if listing.problems:
        raise InputError(listing.problems[0])


def _show(run: Path) -> None:
    show(run)
    show(run, as_json=True)


@cache
def _prepared() -> tuple[str, dict[str, bytes]]:
    """Of the texts of the fixture as this version prepares them: the folder's name, its files."""
    with TemporaryDirectory() as folder:
        prepare(_texts(), TextOptions(), Path(folder))
        place = next((Path(folder) / "prepared").iterdir())
        return place.name, {path.name: path.read_bytes() for path in place.iterdir()}


@cache
def _texts() -> Corpus:
    return open_source(str(OLD / "texts"))


@cache
def _true_ids() -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        prepared = prepare(_texts(), TextOptions(), Path(folder))
        return {split: np.array(text.ids) for split, text in prepared.splits.items()}


def _store_reader(name: str) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        key, files = _prepared()
        place = once(lambda place: _write_all(files, place), folder / "prepared" / key)
        (place / name).write_bytes(content)
        try:
            prepared = _read("texts", place, "file")
        except CorruptFileError:
            if zlib.crc32(content) % 16:  # all of them are prepared again in the same way
                raise
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RecurlmWarning)
                prepared = prepare(_texts(), TextOptions(), folder)
            _write_all(files, place)
        for split, ids in _true_ids().items():
            assert np.array_equal(prepared[split].ids, ids), f"other ids of {split}"
            assert prepared[split].digest == _texts().split(split).sha256, f"another digest of {split}"
        assert prepared.codec.vocabulary == _old_model().codec.vocabulary, "another vocabulary"

    return check


def _check_store_made_to_fit(content: bytes, folder: Path) -> None:
    """The description with a digest that is right: whoever writes it is believed, but not beyond all bounds."""
    key, files = _prepared()
    place = once(lambda place: _write_all(files, place), folder / "prepared" / key)
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(content)
        content = json.dumps({"store": values, "sha256": sealed._digest_of(values)}).encode()
    (place / "store.json").write_bytes(content)
    prepared = _read("texts", place, "file")
    _check_tokens(prepared.codec.vocabulary.tokens)
    for text in prepared.splits.values():
        assert len(text.ends) <= len(text.ids)
        assert int(np.max(text.ids)) < len(prepared.codec.vocabulary), "an id beyond the vocabulary"
        assert text.characters >= 0
        assert text.oov >= 0


def _write_all(files: dict[str, bytes], place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)


def _store_seeds(name: str) -> Callable[[], list[bytes]]:
    return lambda: [_prepared()[1][name]]


def _described_store_seeds() -> list[bytes]:
    return [json.dumps(json.loads(_prepared()[1]["store.json"])["store"]).encode()]


SPACE = tuple(map(parse_variation, ("optimizer.learning_rate=log:1e-4..1e-1", "model.cell=lstm|gru")))


def _study_seeds() -> list[bytes]:
    values = [{"optimizer.learning_rate": 0.01 * number, "model.cell": "lstm"} for number in range(1, 5)]
    trials = [
        Trial(1, values[0], "complete", [9.0, 8.0], 7.5, "stream|tokens=3", 1.5),
        Trial(2, values[1], "pruned", [19.0], None, None, 0.5),
        Trial(3, values[2], "diverged", [], None, None, 0.1, "not finite"),
        Trial(4, values[3]),
    ]
    return ["".join(json.dumps(vars(trial)) + "\n" for trial in trials).encode()]


def _check_study(content: bytes, folder: Path) -> None:
    path = folder / "trials.jsonl"
    path.write_bytes(content)
    study = Study(path, SPACE, seed=1)
    assert study.seconds >= 0
    if study.best is not None:
        assert study.best in study.over
    for trial in study.trials:
        assert set(trial.values) == {each.key for each in SPACE}, "other keys than the space"
    for trial in study.trials[-1:]:
        study.save(trial)
    assert Study(path, SPACE, seed=1).trials == study.trials, "other trials when written and read again"


ASKED = {
    "text": "my.txt",
    "vary": list(map(str, SPACE)),
    "seed": 1,
    "recipe": load_recipe("demo").model_dump(mode="json"),
}


def _check_search(content: bytes, folder: Path) -> None:
    (folder / SEARCH_FILE).write_bytes(content)
    recipe = resumed_recipe(folder, ASKED, resume=True)
    # values that older versions did not record are those of older versions
    assert recipe.model == load_recipe("demo").model, "another model than the one asked for"


def _optimizer_seeds() -> list[bytes]:
    return [(_checkpoint() / "optimizer.safetensors").read_bytes()]


def _carried_state_seeds() -> list[bytes]:
    return [(_checkpoint() / "state.safetensors").read_bytes()]


WEIGHTS = Form(
    safetensors_file,
    (b'"F32"', b'"BF16"', b'"F64"', b'"I64"', b'"F8_E4M3"', b'"BOOL"', b'"data_offsets"', b'"shape"', b"embedding"),
    binary=True,
)

READERS = (
    Reader("recipe", _recipe_seeds, _check_recipe, Form(words=RECIPE_WORDS)),
    Reader("set", _change_seeds, _check_change, Form(words=(*RECIPE_WORDS, b"training.epochs", b"=", b"."))),
    Reader("config", lambda: [(OLD / "run" / "config.json").read_bytes()], _check_config, JSON),
    Reader("manifest", _run_seeds("manifest.json"), _check_manifest, JSON),
    Reader("vocabulary", _run_seeds("vocabulary.json"), _check_vocabulary, JSON),
    Reader("tokenizer", _tokenizer_seeds, _check_tokenizer, JSON),
    Reader("counters", _counters_seeds, _check_counters, JSON),
    Reader("optimizer", _optimizer_seeds, _check_optimizer, WEIGHTS),
    Reader("carried-state", _carried_state_seeds, _check_carried_state, WEIGHTS),
    Reader("weights", _run_seeds("model.safetensors"), _check_weights, WEIGHTS),
    Reader("state", _state_seeds, _check_state, WEIGHTS),
    *(
        Reader(f"{command}-{name.partition('.')[0]}", _run_seeds(name), _described_run(name, describe), form)
        for command, describe in (("runs", _list), ("show", _show))
        for name, form in (("config.json", JSON), ("metrics.jsonl", Form(json_lines)))
    ),
    Reader("metrics", _run_seeds("metrics.jsonl"), _check_metrics, Form(json_lines)),
    Reader("store", _store_seeds("store.json"), _store_reader("store.json"), JSON),
    Reader("store-made-to-fit", _described_store_seeds, _check_store_made_to_fit, JSON),
    Reader("store-ids", _store_seeds("train.ids"), _store_reader("train.ids"), Form(binary=True)),
    Reader("store-vocabulary", _store_seeds("vocabulary.json"), _store_reader("vocabulary.json"), JSON),
    Reader("study", _study_seeds, _check_study, Form(json_lines)),
    Reader("search", lambda: [json.dumps(ASKED).encode()], _check_search, JSON),
)
