"""MXNet's parameter files: against bytes laid out by hand, files of MXNet's own, and hostile ones."""

import random
import struct
import time
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recurlm.errors import CorruptFileError, InputError
from recurlm.mxnet.params import BFLOAT16, read_params, widened, write_params

FIXTURES = Path(__file__).parent / "fixtures"
TINY = Path(__file__).parents[1] / "fixtures" / "mxnet"
MAGIC = {1: 0xF993FAC8, 2: 0xF993FAC9, 3: 0xF993FACA}
DTYPES = ["f4", "f8", "f2", "u1", "i4", "i1", "i8", "?", "i2", "u2", "u4", "u8"]


def header(count: int = 1) -> bytes:
    return struct.pack("<3Q", 0x112, 0, count)


def names(*each: bytes) -> bytes:
    return struct.pack("<Q", len(each)) + b"".join(struct.pack("<Q", len(name)) + name for name in each)


def dense(shape: tuple[int, ...], dtype: int, data: bytes, version: int = 2, device: int = 1) -> bytes:
    count = len(shape)
    start = {
        0: lambda: struct.pack(f"<I{count}I", count, *shape),
        1: lambda: struct.pack(f"<Ii{count}q", MAGIC[1], count, *shape),
        2: lambda: struct.pack(f"<Iii{count}q", MAGIC[2], 0, count, *shape),
        3: lambda: struct.pack(f"<Iii{count}q", MAGIC[3], 0, count, *shape),
    }[version]()
    return start + struct.pack("<3i", device, 3, dtype) + data


def stored(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model-0001.params"


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("device", [1, 2])
def test_bytes_laid_out_by_hand(target: Path, version: int, device: int) -> None:
    data = struct.pack("<6f", 1, 2, 3, 4, 5, -6.5)
    content = header() + dense((2, 3), 0, data, version, device) + names(b"arg:a")
    read = read_params(stored(target, content))
    assert list(read) == ["arg:a"]
    assert read["arg:a"].tolist() == [[1, 2, 3], [4, 5, -6.5]]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_writer_lays_out_the_same_bytes(target: Path, version: int) -> None:
    write_params(target, {"arg:é": np.array([[1.5, 2.5]], "f4")}, version)
    expected = header() + dense((1, 2), 0, struct.pack("<2f", 1.5, 2.5), version) + names("arg:é".encode())
    assert target.read_bytes() == expected.replace(struct.pack("<2i", 1, 3), struct.pack("<2i", 1, 0))


def test_half_precision_is_widened_or_kept(target: Path) -> None:
    bits = struct.pack("<3H", 0x3F80, 0xC0A0, 0x0001)
    content = header(2) + dense((3,), 12, bits) + dense((2,), 2, struct.pack("<2e", 0.5, -3))
    stored(target, content + names(b"arg:brain", b"arg:half"))
    wide = read_params(target)
    assert [array.dtype for array in wide.values()] == [np.float32, np.float32]
    assert wide["arg:brain"].tolist() == [1.0, -5.0, 2.0**-133]
    assert wide["arg:half"].tolist() == [0.5, -3.0]
    kept = read_params(target, widen=False)
    assert kept["arg:brain"].dtype == BFLOAT16
    assert kept["arg:brain"]["bfloat16"].tolist() == [0x3F80, 0xC0A0, 1]
    assert kept["arg:half"].dtype == np.float16
    assert widened(kept["arg:brain"]).tolist() == wide["arg:brain"].tolist()
    assert widened(kept["arg:half"]).dtype == np.float32
    assert widened(np.ones(2, np.float64)).dtype == np.float64


def test_every_type_that_mxnet_itself_writes() -> None:
    read = read_params(FIXTURES / "types.params", widen=False)
    assert {name: array.dtype.name for name, array in read.items()} == {
        f"arg:{name}": name for name in ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")
    }
    assert all(array.tolist() == [0, 1, 1] for array in read.values())


def test_scalars_and_empty_arrays_of_numpy_shape_mode() -> None:
    read = read_params(FIXTURES / "numpy_shapes.params")
    assert read["arg:scalar"].shape == ()
    assert read["arg:scalar"] == 7
    assert read["arg:empty"].shape == (0, 5)


@pytest.mark.parametrize(
    "array",
    [
        struct.pack("<I", 0),
        struct.pack("<Ii", MAGIC[1], 0),
        struct.pack("<Iii", MAGIC[2], 0, 0),
        struct.pack("<Iii", MAGIC[3], 0, -1),
    ],
)
def test_array_without_dimensions_is_empty_and_ends(target: Path, array: bytes) -> None:
    assert read_params(stored(target, header() + array + names(b"aux:none")))["aux:none"].shape == (0,)


@pytest.mark.parametrize("folder", sorted(TINY.glob("*/")), ids=lambda folder: folder.name)
def test_recorded_files_are_rewritten_byte_for_byte(folder: Path, target: Path) -> None:
    original = folder / "model-0001.params"
    write_params(target, read_params(original))
    assert target.read_bytes() == original.read_bytes()


@st.composite
def _named_arrays(draw: st.DrawFn) -> tuple[dict[str, np.ndarray], int]:
    version = draw(st.integers(0, 3))
    shapes = arrays.array_shapes(min_dims=version < 3, max_dims=5, min_side=0, max_side=4)
    letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

    def one() -> st.SearchStrategy[np.ndarray]:
        plain = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, shapes))
        bits = arrays.arrays(np.uint16, shapes).map(lambda array: array.astype("<u2").view(BFLOAT16))
        return plain | (bits if version < 3 else plain)

    return draw(st.dictionaries(letters, one(), max_size=5)), version


@settings(deadline=None, max_examples=300)
@given(_named_arrays())
def test_writer_and_reader_agree(case: tuple[dict[str, np.ndarray], int]) -> None:
    written, version = case
    with TemporaryDirectory() as folder:
        path = Path(folder) / "some.params"
        write_params(path, written, version)
        read = read_params(path, widen=False)
    assert list(read) == list(written)
    for name, array in written.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()


def test_big_endian_and_strided_arrays_are_stored_plainly(target: Path) -> None:
    write_params(target, {"arg:a": np.arange(6, dtype=">f8").reshape(2, 3).T})
    assert read_params(target)["arg:a"].tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("dtype", ["c8", "U3", "M8[s]"])
def test_type_that_mxnet_lacks_is_not_written_and_nothing_is_lost(target: Path, dtype: str) -> None:
    write_params(target, {"arg:a": np.ones(3)})
    before = target.read_bytes()
    with pytest.raises(ValueError, match="'arg:b'"):
        write_params(target, {"arg:a": np.ones(3), "arg:b": np.zeros(2, dtype)})
    assert target.read_bytes() == before
    assert list(target.parent.iterdir()) == [target]


def test_scalar_needs_version_3(target: Path) -> None:
    with pytest.raises(ValueError, match="no dimensions"):
        write_params(target, {"arg:a": np.float32(3)[()] * np.ones(())}, version=2)
    write_params(target, {"arg:a": np.full((), 3, "f4")}, version=3)
    assert read_params(target)["arg:a"] == 3


@pytest.mark.parametrize(
    ("file", "name", "kind"), [("row_sparse", "arg:rows", "row-sparse"), ("csr", "arg:grid", "csr")]
)
def test_sparse_array_of_mxnet_is_refused_by_name(file: str, name: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"array '{name}' is {kind}"):
        read_params(FIXTURES / f"{file}.params")


def test_arrays_without_names_are_refused() -> None:
    with pytest.raises(InputError, match="no names"):
        read_params(FIXTURES / "nameless.params")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.params", tmp_path):
        with pytest.raises(InputError, match=r"no such file|is a folder"):
            read_params(path)


ONE = dense((2,), 0, bytes(8))


@pytest.mark.parametrize(
    ("content", "position", "expected"),
    [
        (b"", 0, "8 bytes"),
        (b"PK\x03\x04" + bytes(40), 0, "0x112"),
        (struct.pack("<3Q", 0x112, 1, 0) + names(), 8, "reserved"),
        (header(1 << 60), 16, "at most 10000 arrays"),
        (header(2) + ONE + names(b"a"), 80, "4 bytes of a dtype"),
        (header() + dense((2,), 13, bytes(8)), 52, "dtype from 0 to 12, not 13"),
        (header() + dense((2,), -1, bytes(8)), 52, "dtype from 0 to 12, not -1"),
        (header() + dense((3,), 0, bytes(8)), 56, "12 bytes of data"),
        (header() + dense((-1,), 0, b""), 36, "plausible dimensions"),
        (header() + dense((1 << 62, 4), 0, b""), 36, "plausible dimensions"),
        (header() + dense((1 << 39,), 1, b""), 56, "data of shape"),
        (header() + struct.pack("<Iii", MAGIC[2], 0, 33) + bytes(400), 32, "not 33"),
        (header() + struct.pack("<Iii", MAGIC[2], 0, -1) + bytes(400), 32, "not -1"),
        (header() + struct.pack("<I", 33) + bytes(400), 24, "not 33"),
        (header() + struct.pack("<Ii", MAGIC[2], 3) + bytes(400), 28, "storage type 0"),
        (header() + struct.pack("<Ii", MAGIC[3], 1) + bytes(400), 28, "storage type 0"),
        (header() + ONE + names() + b"\0", 64, "1 names"),
        (header() + ONE + names(b"a", b"b"), 64, "1 names"),
        (header() + ONE + struct.pack("<2Q", 1, 1 << 63), 72, "a name of at most"),
        (header() + ONE + struct.pack("<2Q", 1, 5) + b"arg", 80, "5 bytes of a name"),
        (header() + ONE + names(b"\xff"), 80, "UTF-8"),
        (header(2) + ONE + ONE + names(b"a", b"a"), 121, "not used before"),
        (header() + ONE + names(b"a") + b"\0", 81, "the end of the file"),
        (header() + dense((2,), 7, b"\1\2") + names(b"a"), 56, "truth values"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_damage_is_refused_with_its_place(target: Path, content: bytes, position: int, expected: str) -> None:
    with pytest.raises(CorruptFileError) as refusal:
        read_params(stored(target, content))
    assert str(refusal.value).startswith(f"{target}: damaged at byte {position}: expected ")
    assert expected in str(refusal.value)


EMPTY = struct.pack("<Ii", MAGIC[1], 0)


def shaped(*shape: int) -> bytes:
    return header() + dense(shape, 0, b"") + names(b"a")


@pytest.mark.parametrize(
    ("largest", "beyond"),
    [
        (header(10_000) + 10_000 * EMPTY + names(*(b"%d" % n for n in range(10_000))), header(10_001)),
        (header() + EMPTY + names(b"a" * 1000), header() + EMPTY + names(b"a" * 1001)),
        (shaped(*31 * [1], 0), shaped(*32 * [1], 0)),
        (shaped(1 << 40, 0), shaped((1 << 40) + 1, 0)),
    ],
    ids=["arrays", "bytes of a name", "dimensions", "elements"],
)
def test_a_file_may_be_as_large_as_the_documents_say_and_no_larger(target: Path, largest: bytes, beyond: bytes) -> None:
    read_params(stored(target, largest))
    with pytest.raises(CorruptFileError, match=r"at most|dimensions"):
        read_params(stored(target, beyond))


def _damaged(content: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return content[: chance.randrange(len(content))]
    flipped = bytearray(content)
    places = range(len(content)) if chance.random() < 0.5 else [*range(60), *range(len(content) - 150, len(content))]
    for _ in range(chance.randint(1, 4)):
        flipped[chance.choice(places)] ^= chance.randint(1, 255)
    return bytes(flipped)


def test_thousands_of_damaged_files_are_read_or_refused_quickly_and_modestly(target: Path, thorough: bool) -> None:
    cases = 10_000 if thorough else 2_000
    content = (TINY / "rnn_tanh" / "model-0000.params").read_bytes()
    chance = random.Random(3)
    refused, slowest = 0, 0.0
    tracemalloc.start()
    try:
        for _ in range(cases):
            target.write_bytes(_damaged(content, chance))
            start = time.process_time()
            try:
                read_params(target)
            except (CorruptFileError, InputError):
                refused += 1
            slowest = max(slowest, time.process_time() - start)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.4 * cases < refused < cases
    assert slowest < 2
    assert peak < 2 << 20


@pytest.mark.parametrize(("dtype", "item"), [(0, 4), (2, 2), (12, 2), (7, 1)])
def test_memory_stays_under_twice_the_file(target: Path, dtype: int, item: int) -> None:
    size = 24 << 20
    with target.open("wb") as file:
        file.write(header() + dense((size // item,), dtype, b""))
        file.seek(size, 1)
        file.write(names(b"arg:big"))
    tracemalloc.start()
    try:
        assert read_params(target)["arg:big"].shape == (size // item,)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * size + (8 << 20)


def test_a_flood_of_empty_arrays_stays_modest(target: Path) -> None:
    stored(target, header(10_000) + bytes(4 * 10_000) + struct.pack("<Q", 10_000) + bytes(100_000))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFileError):
            read_params(target)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
