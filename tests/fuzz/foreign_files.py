"""Readers of other people's files: texts, n-gram models, n-best lists, lattices, references, MXNet's files."""

import contextlib
import gzip
import json
import math
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

import made_lists
import recurlm
from fuzz.mutate import LARGEST, Form, json_document, json_lines
from fuzz.reader import Reader, once
from recurlm.errors import RecurlmError
from recurlm.mxnet.importing import import_model
from recurlm.ngrams.arpa import read_arpa, write_arpa
from recurlm.ngrams.model import NGramModel
from recurlm.rescoring.formats.reading import read_nbest
from recurlm.rescoring.formats.text_lists import read_references
from recurlm.rescoring.nbest import NBestFile
from recurlm.rescoring.word_errors import word_errors
from recurlm.text.codec import Codec
from recurlm.text.corpora import open_text
from recurlm.text.places import DataPlaces
from recurlm.text.sources import cut
from recurlm.text.tables import read_table
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

TESTS = Path(__file__).parents[1]
CODEC = Codec(Words(), Vocabulary(("<eos>", "<unk>", "the", "cat")))
UTTERANCES = 2
PATHS = 20


def _text_seeds() -> list[bytes]:
    lines = "the cat sat on the mat\n\nthe caf\u00e9 was  closed\nthe end\n" * 20
    return [lines.encode(), b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode(), lines.encode()[:-1]]


def _check_text_named(name: str) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(content)
        text = open_text(path, DataPlaces(cache_directory=folder / "cache"))
        assert len(CODEC.encode(text).ends) == sum(1 for _ in text.lines()), "other lines than sentences"
        if text.size <= LARGEST:  # the comparison itself takes many times the text
            assert "".join(text.blocks()) == "".join(text.blocks(1009)), "other blocks, another text"
            unpacked = gzip.decompress(content) if name.endswith(".gz") else content
            assert list(text.lines()) == _lines(unpacked), "other lines"
        for part in cut(text):
            assert "".join(part.blocks())

    return check


def _lines(content: bytes) -> list[str]:
    """By the rule, written another way: a line feed, and one carriage return before it, end a line."""
    decoded = content.decode("utf-8-sig")
    lines = re.split("\r?\n", decoded)
    return lines[:-1] if decoded.endswith("\n") else lines


TABLE_WORDS = (b'"', b'""', b",", b"\t", b",sentence", b"sentence", b"\r", b"\0", b'{"item": 1}', b'"sentence": ')


def _table_seeds(kind: str) -> Callable[[], list[bytes]]:
    return lambda: [TABLES[kind].encode(), (TABLES[kind] * 3).encode(), b"\xef\xbb\xbf" + TABLES[kind].encode()]


TABLES = {
    "csv": 'item,sentence\n1,"the ""cat"", it"\n\n2,caf\u00e9\n3,"two\nlines"\n',
    "tsv": 'item\tsentence\n1\t"the\tcat"\n2\tcaf\u00e9\n',
    "jsonl": '{"item": 1, "sentence": "the cat"}\n{"item": null, "sentence": "caf\u00e9"}\n',
}


def _check_table(kind: str) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        path = folder / f"items.{kind}"
        path.write_bytes(content)
        table = read_table(open_text(path, DataPlaces(cache_directory=folder / "cache")).lines(), kind, str(path))
        numbers = []
        for row in table.rows:
            numbers.append(row.number)
            assert tuple(row.cells) == table.columns, "other columns than the header's"
        assert numbers == list(range(1, len(numbers) + 1)), "rows are not numbered in order"
        assert numbers, "a table without rows"

    return check


ARPA_WORDS = (
    *(
        b"\\data\\",
        b"\\1-grams:",
        b"\\2-grams:",
        b"\\3-grams:",
        b"\\end\\",
        b"ngram 1=",
        b"ngram 2=4000000000",
        b"ngram",
    ),
    *(b"-99", b"<s>", b"</s>", b"<unk>", b"<UNK>", b"<eos>", b"\t", b"-1.5\ta b\t-0.5", b"-0.4\ta"),
)
ARPA = (
    "\\data\\\nngram 1=5\nngram 2=2\nngram 3=1\n\n"
    "\\1-grams:\n-99\t<s>\t-0.5\n-0.7\t</s>\n-0.4\ta\t-0.25\n-0.6\tb\t-0.125\n"
    "-1\t<unk>\n\n\\2-grams:\n-0.2\t<s> a\t-0.1\n-0.3\tb </s>\n\n\\3-grams:\n-0.05\t<s> a b\n\n\\end\\\n"
)


def _arpa_seeds() -> list[bytes]:
    return [ARPA.encode(), ("written by hand\n\n" + ARPA.replace("\t", " ")).encode()]


def _check_arpa_named(name: str) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        path, again = folder / name, folder / f"again-{name}"
        path.write_bytes(content)
        model = read_arpa(path)
        for level in model.levels:
            listed = level.log_probabilities[~np.isnan(level.log_probabilities)]
            assert (listed <= 0).all(), "a probability above 1"
            assert not np.isnan(level.back_offs).any(), "a weight that is no number"
        _check_measures(model)
        write_arpa(model, again)
        written = read_arpa(again)
        assert written.vocabulary == model.vocabulary, "another vocabulary when written and read again"
        sizes = [
            [int((~np.isnan(level.log_probabilities)).sum()) for level in each.levels] for each in (model, written)
        ]
        assert sizes[0] == sizes[1], "other n-grams when written and read again"

    return check


def _check_measures(model: NGramModel) -> None:
    size = len(model.vocabulary)
    nats = model.token_nats(np.arange(min(size, 50)) % size)
    assert not np.isnan(nats).any(), "a word whose probability is no number"


@cache
def _made() -> tuple[dict[str, list[made_lists.Made]], dict[str, str]]:
    """The first few utterances of the made lists."""
    lists, references = made_lists.nbest()
    return dict(list(lists.items())[:UTTERANCES]), dict(list(references.items())[:UTTERANCES])


def _rows() -> list[tuple[str, int, made_lists.Made]]:
    return [(name, number, each) for name, members in _made()[0].items() for number, each in enumerate(members, 1)]


def _joined(lines: list[str]) -> list[bytes]:
    return ["".join(f"{line}\n" for line in lines).encode()]


def _kaldi_seeds() -> list[bytes]:
    return _joined([f"{name}-{number} {each.text}" for name, number, each in _rows()])


def _cost_seeds() -> list[bytes]:
    return _joined([f"{name}-{number} {each.acoustic}" for name, number, each in _rows()])


def _mikolov_seeds() -> list[bytes]:
    return _joined([f"{name} {each.text}" for name, _, each in _rows()])


def _jsonl_seeds() -> list[bytes]:
    objects = [
        {"utterance": name, "words": each.text.split(), "acoustic": -each.acoustic, "language": -each.language}
        for name, _, each in _rows()
    ]
    texts = [{"utterance": name, "text": each.text} for name, _, each in _rows()]
    return _joined([json.dumps(each) for each in objects]) + _joined([json.dumps(each) for each in texts])


def _list_reader(name: str, format: str) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(content)
        with contextlib.suppress(RecurlmError):
            read_nbest([str(path)])
        _check_lists(read_nbest([str(path)], format), folder)

    return check


def _check_costs(content: bytes, folder: Path) -> None:
    place = folder / "kaldi"
    place.mkdir(exist_ok=True)
    (place / "words_text").write_bytes(_kaldi_seeds()[0])
    (place / "ac_cost").write_bytes(content)
    found = read_nbest([str(place)])
    assert found.has_acoustic_costs
    _check_lists(found, folder)


def _check_lists(found: NBestFile, folder: Path) -> None:
    """Written as JSON lines and read again, the lists are the same."""
    again = folder / "again.jsonl"
    hypotheses = list(found.hypotheses)
    with again.open("w", encoding="utf-8") as file:
        for each in hypotheses:
            assert "\n" not in each.text, "a line end inside a line"
            costs = {"acoustic": each.acoustic_cost, "language": each.language_cost, "graph": each.graph_cost}
            assert all(cost is None or math.isfinite(cost) for cost in costs.values())
            scores = {name: None if cost is None else -cost for name, cost in costs.items()}
            file.write(json.dumps({"utterance": each.utterance, "words": list(each.words), **scores}) + "\n")
    read = list(read_nbest([str(again)], "jsonl").hypotheses)
    assert [(each.utterance, each.words, each.acoustic_cost) for each in read] == [
        (each.utterance, each.words, each.acoustic_cost) for each in hypotheses
    ], "other lists when written and read again"


LATTICE_WORDS = (
    *(b"I=0", b"J=0", b"S=0", b"E=1", b"W=word", b'W="two words"', b"a=-1", b"l=-2", b"r=-0.5", b"N=3", b"L=2", b"t=1"),
    *(b"start=0", b"end=1", b"base=10", b"base=0", b"base=1e308", b"lmscale=2", b"acscale=0", b"wdpenalty=-1e308"),
    *(b"L=sub", b"W=!NULL", b"W=\\303\\251", b"UTTERANCE=u", b"VERSION=1.0", b"prscale=1", b"d=:a,1:"),
)


def _lattice_seeds() -> list[bytes]:
    items = _made()[0].items()
    return [
        made_lists.lattice(name, members, on_nodes=number % 2 == 0).encode()
        for number, (name, members) in enumerate(items)
    ]


def _lattice_reader(name: str) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(content)
        found = read_nbest([str(path)], count=PATHS)
        assert found.format == "htk"
        for each in found.lists:
            texts = [hypothesis.words for hypothesis in each.hypotheses]
            assert 0 < len(texts) == len(set(texts)) <= PATHS, "paths that are not distinct"
        assert all(math.isfinite(scale) for scale in (found.acoustic_scale, found.lm_scale, found.length_bonus))
        _check_lists(found, folder)

    return check


def _reference_seeds() -> list[bytes]:
    return _joined([f"{name} {text}" for name, text in _made()[1].items()])


def _check_references(content: bytes, folder: Path) -> None:
    path = folder / "references.txt"
    path.write_bytes(content)
    references = read_references(path)
    for words in references.values():
        turned = (*words[1:], *words[:1])
        errors = word_errors(words, turned)
        assert errors.words == len(words)
        assert errors.total <= 2
        assert errors.deletions == errors.insertions
        assert word_errors(words, words).total == 0
        assert word_errors(words, ()).deletions == len(words)


MODELS = ("gru_fused", "lstm_fused", "rnn_tanh")
SYMBOLS = ("fused", "unfused", "residual", "tied", "softmax", "sizes")
MXNET = TESTS / "fixtures" / "mxnet"
GRAPHS = TESTS / "mxnet" / "fixtures"


def _symbol_seeds() -> list[bytes]:
    own = [(MXNET / name / "model-symbol.json").read_bytes() for name in MODELS]
    return own + [(GRAPHS / f"{name}-symbol.json").read_bytes() for name in SYMBOLS]


def _params_seeds() -> list[bytes]:
    names = ("types", "csr", "row_sparse", "numpy_shapes", "nameless")
    others = [(GRAPHS / f"{name}.params").read_bytes() for name in names]
    return [(MXNET / MODELS[0] / "model-0001.params").read_bytes()] * 3 + others


def _word_list_seeds() -> list[bytes]:
    vocabulary = (MXNET / MODELS[0] / "vocab.json").read_bytes()
    words = sorted(json.loads(vocabulary), key=json.loads(vocabulary).get)
    listed = "".join(f"{word}\n" for word in words if word != "\n").encode()
    return [vocabulary, listed, (MXNET / "tiny.train.txt").read_bytes()[:3000]]


def _mxnet_reader(changed: str) -> Callable[[bytes, Path], None]:
    """Imports a model of three files, one of them changed, and scores a sentence with what came of it."""

    def check(content: bytes, folder: Path) -> None:
        place = once(lambda place: shutil.copytree(MXNET / MODELS[0], place), folder / f"mxnet-{changed}")
        (place / changed).write_bytes(content)
        run = folder / "imported"
        shutil.rmtree(run, ignore_errors=True)
        import_model(str(place / "model"), 1, place / _vocabulary_name(changed), run)
        logprob = recurlm.load(run).score(["the"])[0].logprob
        assert logprob <= 0, f"a logarithm of a probability of {logprob}"

    return check


def _vocabulary_name(changed: str) -> str:
    return changed if changed.startswith("vocab") else "vocab.json"


def _packed(seeds: Callable[[], list[bytes]]) -> Callable[[], list[bytes]]:
    return lambda: [gzip.compress(each, mtime=0) for each in seeds()]


LATTICE = Form(words=LATTICE_WORDS)

READERS = (
    Reader("text", _text_seeds, _check_text_named("text.txt")),
    Reader("text-gz", _packed(_text_seeds), _check_text_named("text.txt.gz"), Form(packed=True, binary=True)),
    Reader("table-csv", _table_seeds("csv"), _check_table("csv"), Form(words=TABLE_WORDS)),
    Reader("table-tsv", _table_seeds("tsv"), _check_table("tsv"), Form(words=TABLE_WORDS)),
    Reader("table-jsonl", _table_seeds("jsonl"), _check_table("jsonl"), Form(json_lines, TABLE_WORDS)),
    Reader("arpa", _arpa_seeds, _check_arpa_named("model.arpa"), Form(words=ARPA_WORDS)),
    Reader("arpa-gz", _packed(_arpa_seeds), _check_arpa_named("model.arpa.gz"), Form(words=ARPA_WORDS, packed=True)),
    Reader("kaldi", _kaldi_seeds, _list_reader("words_text", "kaldi")),
    Reader("kaldi-costs", _cost_seeds, _check_costs),
    Reader("mikolov", _mikolov_seeds, _list_reader("list.txt", "mikolov")),
    Reader("jsonl", _jsonl_seeds, _list_reader("list.jsonl", "jsonl"), Form(json_lines)),
    Reader("lattice", _lattice_seeds, _lattice_reader("call.lat"), LATTICE),
    Reader(
        "lattice-gz", _packed(_lattice_seeds), _lattice_reader("call.lat.gz"), Form(words=LATTICE_WORDS, packed=True)
    ),
    Reader("references", _reference_seeds, _check_references),
    Reader("mxnet-symbol", _symbol_seeds, _mxnet_reader("model-symbol.json"), Form(json_document)),
    Reader("mxnet-params", _params_seeds, _mxnet_reader("model-0001.params"), Form(binary=True)),
    Reader("mxnet-vocabulary", _word_list_seeds, _mxnet_reader("vocab.json"), Form(json_document)),
    Reader("mxnet-words", _word_list_seeds, _mxnet_reader("vocab.txt"), Form(json_document)),
)
