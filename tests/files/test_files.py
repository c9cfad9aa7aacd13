import errno
import gzip
import io
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recurlm.errors import CorruptFileError, InputError, UsageError
from recurlm.files import (
    append_within,
    check_output,
    check_output_folder,
    new_content,
    opened,
    partial,
    read_bounded,
    streams,
    write_whole,
)
from recurlm.files.errors import explained
from recurlm.files.limits import raised
from recurlm.files.partial import remove_abandoned, resumable_folder, temporary_folder
from recurlm.files.streams import gunzipped, raw_lines


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
        raised(1)


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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs files without a size")
def test_a_file_without_a_size_is_read_whole_and_one_that_cannot_be_read_is_named() -> None:
    assert read_bounded(Path("/proc/self/status"), 1 << 16).startswith(b"Name:")
    with pytest.raises(InputError, match="cannot read /proc/self/mem: "):
        read_bounded(Path("/proc/self/mem"))


def test_nothing_is_appended_to_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(CorruptFileError, match="is a pipe or a device"):
        append_within(tmp_path, "pipe")
    os.close(reader)


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
    monkeypatch.setattr(streams, "FREE_EXPANSION", 1 << 19)
    with pytest.raises(InputError, match="more than 64 times its own size"):
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


@pytest.fixture
def dead_process() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_dead_process_left_half_written_is_removed(tmp_path: Path, dead_process: int) -> None:
    here = partial._this_system()
    deep = tmp_path / "decompressed" / "0123"
    deep.mkdir(parents=True)
    left = [
        tmp_path / f".{dead_process}-{here}-0123456789ab.partial",
        deep / f".{dead_process}-{here}-0123456789ab.partial",
    ]
    left[0].mkdir()
    (left[0] / "train.ids").write_bytes(b"half")
    left[1].write_bytes(b"half")
    remove_abandoned(tmp_path)
    assert not any(path.exists() for path in left)


def test_what_may_be_at_work_is_kept(tmp_path: Path, dead_process: int) -> None:
    here = partial._this_system()
    elsewhere = tmp_path / f".{dead_process}-fedcba98-0123456789ab.partial"
    before = tmp_path / f".{dead_process}-0123456789ab.partial"  # as version 0.1.0 named them
    foreign = tmp_path / ".notes.partial"
    living = tmp_path / f".{os.getpid()}-{here}-0123456789ab.partial"
    for path in (elsewhere, before, foreign, living):
        path.write_bytes(b"half")
    with temporary_folder(tmp_path) as unfinished:
        remove_abandoned(tmp_path)
        assert unfinished.is_dir()
    assert all(path.exists() for path in (elsewhere, before, foreign, living))

    yesterday = time.time() - 25 * 3600
    for path in (elsewhere, before, foreign, living):
        os.utime(path, (yesterday, yesterday))
    remove_abandoned(tmp_path)
    assert [path.exists() for path in (elsewhere, before, foreign, living)] == [False, False, True, True]


def test_a_folder_that_another_machine_still_writes_to_is_kept(tmp_path: Path, dead_process: int) -> None:
    folder = tmp_path / f".{dead_process}-fedcba98-0123456789ab.partial"
    folder.mkdir()
    (folder / "train.ids").write_bytes(b"half")
    os.utime(folder, (0, 0))
    remove_abandoned(tmp_path)
    assert folder.exists()


def test_a_file_that_grows_too_large_is_named(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as caught:
            write_whole(tmp_path / "model.safetensors", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert explained(caught.value) == (
        f"the file would be larger than the system allows: {tmp_path}/model.safetensors; raise the limit "
        "(ulimit -f), or choose another disk"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full: {}; free some room"),
        (errno.EDQUOT, "this user's disk quota is used up: {}; remove some files"),
        (errno.EROFS, "the file system is read-only: {}; choose a folder that can be written"),
    ],
)
def test_errors_of_writing_name_the_file_and_what_to_do(tmp_path: Path, number: int, words: str) -> None:
    target = tmp_path / "f"
    with pytest.raises(OSError, match=os.strerror(number)) as caught, new_content(target):
        raise OSError(number, os.strerror(number))
    assert explained(caught.value).startswith(words.format(target))


def test_too_many_open_files_and_other_errors_are_plain(tmp_path: Path) -> None:
    too_many = explained(OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(tmp_path)))
    assert too_many == f"too many open files in this process: {tmp_path}; raise the limit (ulimit -n)"
    assert explained(OSError(errno.ELOOP, os.strerror(errno.ELOOP), b"a")) == f"{os.strerror(errno.ELOOP)}: a"
    assert explained(OSError("no number")) == "no number"
    with pytest.raises(ConnectionResetError) as caught, new_content(tmp_path / "f"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")
    assert caught.value.filename is None


def test_no_output_replaces_what_the_command_reads(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a\n")
    (tmp_path / "link").symlink_to(text)
    (tmp_path / "hard").hardlink_to(text)
    for name in ("text.txt", "link", "hard"):
        with pytest.raises(UsageError, match="is read by this command"):
            check_output(tmp_path / name, ["-", None, "\0", str(text)])
    check_output(tmp_path / "other.txt", ["-", None, "\0", str(text)])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the state of a process in Linux's /proc")
def test_what_a_process_left_that_ended_but_keeps_its_number_is_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read() == b""  # it has ended, and nothing has asked for its exit code
    while (status := Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]) != "Z":
        assert status != "X"
    left = tmp_path / f".{process.pid}-{partial._this_system()}-0123456789ab.partial"
    left.write_bytes(b"half")
    remove_abandoned(tmp_path)
    assert not left.exists()
    process.communicate()


@pytest.mark.parametrize("place", ["file", "file/folder", "file/folder/deeper"])
def test_a_folder_in_the_place_of_a_file_is_refused_by_the_name_of_the_file(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(InputError, match=r"^file: is a file, not a folder; name another --out$"):
        check_output_folder(Path(place))
    check_output_folder(Path("new/folder"))
    assert not Path("new").exists()


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError) as refused:
        check_output_folder(tmp_path / "new")
    assert refused.value.filename == str(tmp_path)


def test_one_caller_at_a_time_works_in_a_resumable_folder(tmp_path: Path) -> None:
    inside, most, entered = [0], [0], [threading.Event() for _ in range(3)]
    leave = [threading.Event() for _ in range(3)]

    def work(number: int) -> None:
        with resumable_folder(tmp_path / "text") as folder:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            assert folder.is_dir()
            entered[number].set()
            assert leave[number].wait(20)
            inside[0] -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    threads[0].start()
    assert entered[0].wait(20)
    threads[1].start()
    time.sleep(0.1)  # waits for a folder that the first one removes
    leave[0].set()
    assert entered[1].wait(20)
    threads[2].start()
    assert not entered[2].wait(0.2)
    leave[1].set()
    leave[2].set()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_resumable_folder_is_the_caller_s(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the text"), resumable_folder(tmp_path / "text"):
        raise FileNotFoundError("the text")
