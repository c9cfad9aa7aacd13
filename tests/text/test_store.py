import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm.config import TextOptions
from recurlm.errors import InputError, RecurlmWarning
from recurlm.files import sealed as sealed_module
from recurlm.text.sources import Corpus, Text
from recurlm.text.store import prepare

SEED_OPTIONS = TextOptions(order="appearance", unknown=True, minimum_count=1)


def naive(train: str, others: list[str], options: TextOptions) -> tuple[list[str], list[list[int]]]:
    """Vocabulary and ids, written down as plainly as possible."""

    def sentences(text: str) -> list[list[str]]:
        lines = text.removesuffix("\n").split("\n")
        return [list(line) if options.unit == "character" else [w for w in line.split(" ") if w] for line in lines]

    counts = Counter(token for sentence in sentences(train) for token in sentence)
    ranked = [token for token, _ in counts.most_common()] if options.order == "frequency" else list(counts)
    minimum = 1 if "<unk>" in counts else options.minimum_count
    kept = [token for token in ranked if counts[token] >= minimum]
    extra = ["<unk>"] if options.unknown and "<unk>" not in counts else []
    vocabulary = ["<eos>", *extra, *kept]
    number = {token: index for index, token in enumerate(vocabulary)}
    unknown = number.get("<unk>")
    return vocabulary, [
        [index for sentence in sentences(text) for index in [*(number.get(t, unknown) for t in sentence), 0]]
        for text in (train, *others)
    ]


words = st.sampled_from(["a", "b", "cc", "é", "<unk>", "\t", "<", "x"])
sentence = st.lists(words, max_size=6).map(" ".join)
texts = st.lists(sentence, min_size=1, max_size=8).map("\n".join)


@settings(max_examples=60)
@given(
    train=texts,
    valid=texts.filter(bool),
    final=st.sampled_from(["", "\n"]),
    unit=st.sampled_from(["word", "character"]),
    order=st.sampled_from(["frequency", "appearance"]),
    minimum_count=st.integers(1, 3),
)
def test_ids_are_those_of_a_naive_encoder(tmp_path_factory, train, valid, final, unit, order, minimum_count):
    options = TextOptions(unit=unit, order=order, minimum_count=minimum_count)
    folder = tmp_path_factory.mktemp("store")
    train = "a b\n" + train + final
    for name, content in (("train", train), ("valid", valid + final)):
        (folder / f"{name}.txt").write_bytes(content.encode())
    corpus = Corpus("c", Text("train", folder / "train.txt"), Text("valid", folder / "valid.txt"), None)
    prepared = prepare(corpus, options, folder)
    vocabulary, (train_ids, valid_ids) = naive(train, [valid + final], options)
    assert list(prepared.codec.vocabulary.tokens) == vocabulary
    assert prepared["train"].ids.tolist() == train_ids
    assert prepared["valid"].ids.tolist() == valid_ids
    for split, content in (("train", train), ("valid", valid + final)):
        missing = sum(token not in vocabulary for token in _tokens(content, unit))
        assert prepared[split].oov == missing
        assert prepared[split].characters == len(content) + (not content.endswith("\n"))


def _tokens(text: str, unit: str) -> list[str]:
    plain = text.replace("\n", "" if unit == "character" else " ")
    return list(plain) if unit == "character" else [token for token in plain.split(" ") if token]


def test_the_store_agrees_with_encoding_in_memory(write_corpus, small_text, tmp_path):
    corpus = write_corpus(small_text, "a zebra sat\n", small_text[:20])
    prepared = prepare(corpus, TextOptions(minimum_count=2), tmp_path)
    for split in ("train", "valid", "test"):
        again = prepared.codec.encode(corpus.split(split))
        stored = prepared[split]
        assert stored.ids.tolist() == again.ids.tolist()
        assert (stored.digest, stored.characters, stored.oov) == (again.digest, again.characters, again.oov)


def test_a_second_call_reads_and_writes_nothing_again(write_corpus, small_text, tmp_path):
    corpus = write_corpus(small_text)
    reports: list[int] = []
    first = prepare(corpus, SEED_OPTIONS, tmp_path, reports.append)
    assert sum(reports) == len(small_text)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = prepare(corpus, SEED_OPTIONS, tmp_path, reports.append)
    assert sum(reports) == len(small_text)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps
    assert second.codec.vocabulary == first.codec.vocabulary
    assert np.array_equal(second["train"].ids, first["train"].ids)


def test_other_options_and_other_texts_are_prepared_apart(write_corpus, small_text, tmp_path):
    corpus = write_corpus(small_text)
    prepare(corpus, SEED_OPTIONS, tmp_path)
    characters = prepare(corpus, TextOptions(unit="character"), tmp_path)
    assert len(characters["train"].ids) == len(small_text)
    changed = prepare(write_corpus(small_text + "a new line\n"), SEED_OPTIONS, tmp_path)
    assert len(changed["train"].ends) == 7


def test_ids_are_mapped_from_disk_and_narrow(write_corpus, small_text, tmp_path):
    ids = prepare(write_corpus(small_text), SEED_OPTIONS, tmp_path)["train"].ids
    assert isinstance(ids, np.memmap)
    assert ids.dtype == np.uint16


def test_a_vocabulary_too_large_for_two_bytes(write_corpus, tmp_path):
    prepared = prepare(write_corpus(" ".join(f"w{number}" for number in range(70_000))), SEED_OPTIONS, tmp_path)
    assert prepared["train"].ids.dtype == np.uint32
    assert prepared["train"].ids.tolist() == [*range(2, 70_002), 0]


def test_byte_pairs_are_stored(write_corpus, small_text, tmp_path):
    pytest.importorskip("tokenizers")
    prepared = prepare(write_corpus(small_text, "zebras!\n"), TextOptions(unit="bpe", merges=280), tmp_path)
    assert prepared.codec.decode(prepared["train"].ids) == small_text
    assert prepared.codec.decode(prepared["valid"].ids) == "zebras!\n"
    assert prepared["valid"].oov == 0


def test_a_broken_preparation_leaves_nothing_and_the_next_one_succeeds(write_corpus, small_text, tmp_path):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    corpus = write_corpus(small_text)
    cache = tmp_path / "cache"
    with pytest.raises(OSError, match="No space left"):
        prepare(corpus, SEED_OPTIONS, cache, fail)
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert len(prepare(corpus, SEED_OPTIONS, cache)["train"].ends) == 6


def test_what_a_killed_process_left_is_removed_by_the_next_one(write_corpus, small_text, tmp_path):
    corpus = write_corpus(small_text)
    killed = "import os, signal; from recurlm.files.partial import temporary_folder; from pathlib import Path\n"
    killed += (
        f"with temporary_folder(Path({str(tmp_path / 'cache' / 'prepared')!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", killed], check=False)
    assert list((tmp_path / "cache" / "prepared").glob(".*.partial"))
    prepare(corpus, TextOptions(), tmp_path / "cache")
    assert not list((tmp_path / "cache" / "prepared").glob(".*.partial"))


def test_every_file_reaches_the_disk_before_the_folder_gets_its_name(write_corpus, small_text, tmp_path, monkeypatch):
    synced: set[int] = set()
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor):
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def checked_replace(source, target):
        files = list(Path(source).iterdir())
        assert {path.name for path in files} >= {"train.ids", "valid.ids", "vocabulary.json", "store.json"}
        assert {path.stat().st_ino for path in files} <= synced
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", checked_replace)
    prepare(write_corpus(small_text, "a cat\n"), SEED_OPTIONS, tmp_path / "cache")


def test_a_folder_that_cannot_be_moved_tells_the_true_reason(write_corpus, small_text, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        prepare(write_corpus(small_text), SEED_OPTIONS, tmp_path)


def test_two_processes_prepare_at_once(write_corpus, small_text, tmp_path):
    corpus = write_corpus(small_text * 20_000)
    code = f"""
import sys
from pathlib import Path
from recurlm.config import TextOptions
from recurlm.text.sources import Corpus, Text
from recurlm.text.store import prepare
print("ready", flush=True)
sys.stdin.readline()
corpus = Corpus("c", Text("train", Path({str(corpus.train.path)!r})), None, None)
print(prepare(corpus, TextOptions(), Path({str(tmp_path)!r}))["train"].ids.astype("i8").sum())
"""
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    sums = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(sums) == 1
    assert len(list((tmp_path / "prepared").iterdir())) == 1


@pytest.mark.parametrize("content", ["word", "word\n", "\n\n\n"])
def test_a_text_with_fewer_than_two_tokens_is_refused(write_corpus, tmp_path, content):
    with pytest.raises(InputError, match="train: fewer than two tokens"):
        prepare(write_corpus(content), SEED_OPTIONS, tmp_path)


def test_a_written_eos_is_refused_in_every_split(write_corpus, tmp_path):
    with pytest.raises(InputError, match=r"train: .*<eos>"):
        prepare(write_corpus("a <eos> b\n"), SEED_OPTIONS, tmp_path)
    with pytest.raises(InputError, match=r"v, line 2: .*<eos>"):
        prepare(write_corpus("a b\n", "a\nb <eos>\n"), SEED_OPTIONS, tmp_path)


def test_an_unknown_word_of_a_held_out_text_is_named_where_it_is_refused(write_corpus, tmp_path):
    corpus = write_corpus("a b\n", "a\nb zebra\n")
    with pytest.raises(InputError, match="v, line 2: the token 'zebra'"):
        prepare(corpus, TextOptions(unknown=False), tmp_path)


def test_a_split_that_the_corpus_lacks_is_refused(write_corpus, tmp_path):
    with pytest.raises(InputError, match="small: has no test text; it has train, valid"):
        _ = prepare(write_corpus("a b\n", "a\n"), SEED_OPTIONS, tmp_path)["test"]


@pytest.mark.shared_data
def test_penn_treebank_has_the_ids_that_the_seed_document_prints(shared_data, tmp_path):
    train, valid, test = (Text(s, shared_data / "ptb" / f"ptb.{s}.txt") for s in ("train", "valid", "test"))
    prepared = prepare(Corpus("ptb", train, valid, test), SEED_OPTIONS, tmp_path)
    encoded = prepared["train"]
    starts = [0, *encoded.ends[:4].tolist()]
    printed = [
        [*range(1, 25), 0],
        [*range(25, 39), 27, 0],
        [39, 26, 40, 41, 42, 26, 43, 32, 44, 45, 46, 0],
        [47, 26, 27, 28, 29, 48, 49, 41, 42, 50, 51, 52, 53, 54, 55, 35, 36, 37, 42, 56, 57, 58, 59, 0],
        [
            35,
            60,
            42,
            *range(61, 71),
            35,
            71,
            72,
            42,
            73,
            74,
            75,
            35,
            46,
            42,
            76,
            77,
            64,
            78,
            79,
            80,
            27,
            28,
            81,
            82,
            83,
            0,
        ],
    ]
    assert [encoded.ids[a:b].tolist() for a, b in zip(starts, encoded.ends[:5], strict=True)] == printed
    assert len(prepared.codec.vocabulary) == 10_000
    assert len(encoded.ends) == 42_068
    assert [len(prepared[split].ids) for split in ("train", "valid", "test")] == [929_589, 73_760, 82_430]
    assert [prepared[split].oov for split in ("train", "valid", "test")] == [0, 0, 0]


def ones(path: Path) -> None:
    path.write_bytes(np.ones(path.stat().st_size // 2, "<u2").tobytes())


def retouched(path: Path) -> None:
    """The same, with the time and size that the file had."""
    status = path.stat()
    ones(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def another_figure(path: Path) -> None:
    path.write_text(path.read_text().replace('"oov": 0', '"oov": 3'))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("test.ids", ones),
        ("train.ids", ones),
        ("valid.ids", retouched),
        ("train.ids", lambda path: path.write_bytes(path.read_bytes()[:-2])),
        ("train.ids", lambda path: path.write_bytes(path.read_bytes() + b"\0\0")),
        ("train.ids", Path.unlink),
        ("vocabulary.json", lambda path: path.write_text(path.read_text().replace('"b"', '"d"'))),
        ("store.json", another_figure),
        ("store.json", lambda path: path.write_text("{}")),
        ("store.json", lambda path: path.write_text('{"a":' * 10_000)),
        ("store.json", Path.unlink),
    ],
    ids=range(11),
)
def test_an_altered_folder_is_prepared_again(write_corpus, tmp_path, name, damage):
    corpus = write_corpus("a b c\n" * 20, "a b\n", "b c\n")
    before = prepare(corpus, TextOptions(), tmp_path / "cache")
    kept = {split: text.ids.tolist() for split, text in before.splits.items()}
    (path,) = (tmp_path / "cache").rglob(name)
    content = path.read_bytes()
    damage(path)
    with pytest.warns(RecurlmWarning, match="preparing the text again") as caught:
        again = prepare(corpus, TextOptions(), tmp_path / "cache")
    assert caught[0].filename == __file__
    assert {split: text.ids.tolist() for split, text in again.splits.items()} == kept
    assert again.codec.vocabulary == before.codec.vocabulary
    assert path.read_bytes() == content
    assert len(list((tmp_path / "cache" / "prepared").iterdir())) == 1


def test_a_folder_that_is_mapped_can_be_prepared_again(write_corpus, tmp_path):
    corpus = write_corpus("a b c\n" * 20)
    mapped = prepare(corpus, TextOptions(), tmp_path)["train"].ids
    (path,) = tmp_path.rglob("vocabulary.json")
    path.unlink()
    with pytest.warns(RecurlmWarning):
        again = prepare(corpus, TextOptions(), tmp_path)["train"].ids
    assert again.tolist() == mapped.tolist()


def sealed(path: Path, **changes) -> None:
    """Changes what store.json says, and its digest with it."""
    values = json.loads(path.read_text())["store"] | changes
    content = json.dumps(values, sort_keys=True).encode()
    path.write_text(json.dumps({"store": values, "sha256": hashlib.sha256(content).hexdigest()}))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "recurlm store 3"},
        {"dtype": "object"},
        {"files": {}},
        {"files": {"../../train.txt": "sha256:0"}},
        {"splits": {"train": 1}},
        {"splits": {"train": {"name": "t"}}},
    ],
    ids=range(6),
)
def test_a_description_with_a_fitting_digest_must_still_describe_a_text(write_corpus, tmp_path, changes):
    corpus = write_corpus("a b c\n" * 20)
    prepare(corpus, TextOptions(), tmp_path)
    (path,) = tmp_path.rglob("store.json")
    sealed(path, **changes)
    with pytest.warns(RecurlmWarning, match="preparing the text again"):
        prepare(corpus, TextOptions(), tmp_path)


def test_ids_beyond_the_vocabulary_are_noticed(write_corpus, tmp_path):
    corpus = write_corpus("a b c\n" * 20)
    expected = prepare(corpus, TextOptions(), tmp_path)["train"].ids.tolist()
    (path,) = tmp_path.rglob("store.json")
    ids = path.with_name("train.ids")
    ids.write_bytes(np.full(80, 5, "<u2").tobytes())
    files = json.loads(path.read_text())["store"]["files"]
    sealed(path, files=files | {"train.ids": f"sha256:{hashlib.sha256(ids.read_bytes()).hexdigest()}"})
    with pytest.warns(RecurlmWarning, match="ids beyond the 5 tokens"):
        assert prepare(corpus, TextOptions(), tmp_path)["train"].ids.tolist() == expected


def test_a_link_in_the_place_of_a_folder_is_replaced(write_corpus, tmp_path):
    corpus = write_corpus("a b c\n" * 20)
    prepare(corpus, TextOptions(), tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "prepared").iterdir()
    shutil.rmtree(folder)
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(RecurlmWarning):
        prepare(corpus, TextOptions(), tmp_path / "cache")
    assert folder.is_dir()
    assert not folder.is_symlink()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_each_file_is_hashed_once_in_a_process(write_corpus, tmp_path, monkeypatch):
    corpus = write_corpus("a b c\n" * 20)
    prepare(corpus, TextOptions(), tmp_path)
    hashed = []
    digest_of = sealed_module.digest_of
    monkeypatch.setattr(sealed_module, "digest_of", lambda path: hashed.append(path.name) or digest_of(path))
    prepare(corpus, TextOptions(), tmp_path)
    assert hashed == []
    (path,) = tmp_path.rglob("train.ids")
    os.utime(path)
    prepare(corpus, TextOptions(), tmp_path)
    assert hashed == ["train.ids"]


def test_a_text_that_holds_unk_keeps_its_rare_words(write_corpus, tmp_path):
    """Penn Treebank was cut to 10,000 words by its makers; cutting again would make its figures too good."""
    options = TextOptions(minimum_count=2)
    prepared = prepare(write_corpus("a a <unk>\nonce a\n"), options, tmp_path / "cache")
    assert set(prepared.codec.vocabulary.tokens) == {"<eos>", "<unk>", "a", "once"}
    cut = prepare(write_corpus("a a b b\nonce a\n"), options, tmp_path / "cache")
    assert set(cut.codec.vocabulary.tokens) == {"<eos>", "<unk>", "a", "b"}


def test_a_rule_of_documents_belongs_to_the_texts_and_prepares_nothing_again(write_corpus, small_text, tmp_path):
    corpus = write_corpus("a b\n\nc\n", "a\n\nb\n")
    for rule, starts in (("file", []), ("blank-line", [4]), ("line", [3, 4])):
        prepared = prepare(corpus, TextOptions(document=rule), tmp_path)
        assert prepared["train"].further_documents.tolist() == starts
        assert prepared["valid"].document == rule
    assert len(list((tmp_path / "prepared").iterdir())) == 1


def test_a_text_cut_at_spaces_is_prepared_once_however_the_recipe_asks_for_it(write_corpus, small_text, tmp_path):
    corpus = write_corpus(small_text, "zebras!\n")
    folders = []
    for cut in ("auto", "spaces", "prose"):
        prepared = prepare(corpus, TextOptions(cut=cut), tmp_path)
        assert prepared["valid"].cut == ("prose" if cut == "prose" else "")
        assert prepared["valid"].oov == (2 if cut == "prose" else 1)
        folders.append(len(list((tmp_path / "prepared").iterdir())))
    assert folders == [1, 1, 2]
