import gzip
import io
import os
from pathlib import Path

import pytest

from recurlm import files
from recurlm.errors import CorruptFileError, InputError, UsageError
from recurlm.files import check_output, gunzipped, opened, raw_lines, read_bounded


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("f")
    assert read_bounded(tmp_path / "f", 3) == read_bounded(tmp_path / "link", 3) == b"abc"


def test_a_larger_file_is_refused_unless_the_limits_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"abcd")
    with pytest.raises(InputError, match=r"larger than 3 bytes.*\n.*RECURLM_LIMITS=10"):
        read_bounded(tmp_path / "f", 3)
    monkeypatch.setenv("RECURLM_LIMITS", "1.5")
    assert read_bounded(tmp_path / "f", 3) == b"abcd"


@pytest.mark.parametrize("written", ["0", "0.5", "many", "nan", "inf", ""])
def test_a_factor_of_the_limits_that_is_none_is_refused(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECURLM_LIMITS", written)
    with pytest.raises(UsageError, match="RECURLM_LIMITS="):
        files.raised(1)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in {
        "pipe": "not a regular file",
        "endless": "not a regular file",
        "loop": "cannot open",
        "missing": "no such file",
        ".": "is a folder",
        "n" * 300: "cannot open",
        "a\0b": "cannot open",
    }.items():
        with pytest.raises(CorruptFileError, match=reason):
            read_bounded(tmp_path / name, error=CorruptFileError)


def test_a_pipe_is_read_where_a_person_may_name_one(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"text")
    os.close(writing)
    with opened(Path(f"/dev/fd/{reading}"), pipes=True) as file:
        assert file.read() == b"text"
    os.close(reading)


def test_a_line_that_is_too_long_is_refused_with_its_number() -> None:
    assert list(raw_lines(io.BytesIO(b"abc\n\nab"), "f", 4)) == [b"abc\n", b"\n", b"ab"]
    with pytest.raises(InputError, match="f, line 2: longer than 4 bytes"):
        list(raw_lines(io.BytesIO(b"abc\nabcd\n"), "f", 4))


def test_a_gzip_file_is_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(200_000)
    assert gunzipped(io.BytesIO(gzip.compress(content)), "f").read() == content
    assert list(raw_lines(gunzipped(io.BytesIO(gzip.compress(b"a\nb")), "f"), "f")) == [b"a\n", b"b"]


def test_a_gzip_file_that_holds_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(b"\0" * (1 << 20))
    monkeypatch.setattr(files, "FREE_EXPANSION", 1 << 19)
    with pytest.raises(InputError, match="more than 200 times its own size"):
        gunzipped(io.BytesIO(packed), "f").read()
    with pytest.raises(InputError, match="holds more than 1,000 bytes"):
        gunzipped(io.BytesIO(packed), "f", 1000).read()
    monkeypatch.setenv("RECURLM_LIMITS", "100")
    assert len(gunzipped(io.BytesIO(packed), "f", 1 << 20).read()) == 1 << 20


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-1], lambda packed: b"x" + packed, lambda packed: packed[:12]]
)
def test_a_damaged_gzip_file_is_refused(damage) -> None:
    with pytest.raises(CorruptFileError, match="f is not a whole gzip file"):
        gunzipped(io.BytesIO(damage(gzip.compress(b"some text" * 100))), "f").read()


def test_no_output_replaces_what_the_command_reads(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a\n")
    (tmp_path / "link").symlink_to(text)
    (tmp_path / "hard").hardlink_to(text)
    for name in ("text.txt", "link", "hard"):
        with pytest.raises(UsageError, match="is read by this command"):
            check_output(tmp_path / name, ["-", None, "\0", str(text)])
    check_output(tmp_path / "other.txt", ["-", None, "\0", str(text)])
