import dataclasses
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm.errors import InputError
from recurlm.text.sources import Corpus, Text, cut, whole_text


def written(folder: Path, content: bytes) -> Text:
    path = folder / "text.txt"
    path.write_bytes(content)
    return Text("text", path)


def test_lines_of_a_small_text(tmp_path):
    assert list(written(tmp_path, b"a b\n\n c").lines()) == ["a b", "", " c"]


def test_a_final_line_feed_starts_no_further_line(tmp_path):
    assert list(written(tmp_path, b"a\nb\n").lines()) == ["a", "b"]
    assert list(written(tmp_path, b"a\n\n").lines()) == ["a", ""]


def test_only_line_feeds_end_a_line(tmp_path):
    content = "a\x0bb\x0cc\x1cd\x85e\u2028f\rg\n"
    assert list(written(tmp_path, content.encode()).lines()) == [content[:-1]]


def test_windows_line_ends_and_byte_order_mark_are_normalised(tmp_path):
    text = written(tmp_path, b"\xef\xbb\xbfa\r\n\xef\xbb\xbfb\r\n")
    assert list(text.lines()) == ["a", "\ufeffb"]


def test_blocks_end_after_a_line_feed(tmp_path):
    text = written(tmp_path, b"aa\nbbbbbbbbb\nc\nd")
    assert list(text.blocks(4)) == ["aa\n", "bbbbbbbbb\nc\n", "d"]


@given(content=st.text(st.sampled_from("ab é漢\n"), max_size=60), size=st.integers(1, 20))
def test_blocks_join_to_the_text_whatever_their_size(tmp_path_factory, content, size):
    text = written(tmp_path_factory.mktemp("blocks"), content.encode())
    blocks = list(text.blocks(size))
    assert "".join(blocks) == content
    assert all(block.endswith("\n") for block in blocks[:-1])


def test_digest_and_size_are_of_exactly_the_bytes_in_the_range(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\r\ntwo\nthree\n")
    text = Text("part", path, 5, 9)
    assert text.size == 4
    assert text.sha256 == hashlib.sha256(b"two\n").hexdigest()
    assert list(text.lines()) == ["two"]
    assert Text("whole", path).sha256 == hashlib.sha256(b"one\r\ntwo\nthree\n").hexdigest()


@pytest.mark.parametrize(("start", "size"), [(0, 1 << 20), (0, 3), (6, 3)])
def test_bytes_that_are_not_utf8_are_named_by_their_offset_in_the_file(tmp_path, start, size):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"plain\ncaf\xe9 noir\n")
    with pytest.raises(InputError, match=r"latin\.txt is not UTF-8: byte 0xe9 at offset 9\n.*iconv"):
        list(Text("latin", path, start).blocks(size))


def test_the_offset_counts_the_byte_order_mark(tmp_path):
    with pytest.raises(InputError, match="offset 4"):
        list(written(tmp_path, b"\xef\xbb\xbfa\xff\n").blocks())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_a_text_in_a_wide_encoding_is_refused_although_it_may_be_valid_utf8(tmp_path, encoding):
    text = written(tmp_path, "plain words\n".encode(encoding))
    for read in (lambda: list(text.lines()), lambda: whole_text(text.path)):
        with pytest.raises(InputError, match=r"text\.txt is not UTF-8 text: it is UTF-(16|32)"):
            read()
    later = Text("later", text.path, 4)
    assert "\0" in "".join(later.blocks())  # only the file's first bytes show an encoding


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no such file: .*absent\.txt"):
        list(Text("absent", tmp_path / "absent.txt").lines())
    with pytest.raises(InputError, match="is a folder"):
        _ = Text("folder", tmp_path).sha256


def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    text = written(tmp_path, b"secret\n")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match=r"no permission to read .*text\.txt"):
        list(text.lines())


def test_a_file_that_shrinks_is_noticed(tmp_path):
    text = dataclasses.replace(written(tmp_path, b"one\ntwo\n"), stop=20)
    with pytest.raises(InputError, match="became shorter while it was read: 12 bytes"):
        list(text.lines())


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="is empty"):
        whole_text(written(tmp_path, content).path)


def test_a_text_is_cut_by_bytes_at_ends_of_lines(tmp_path):
    parts = cut(written(tmp_path, b"".join(b"%02d\n" % number for number in range(40))))
    assert [(part.start, part.stop) for part in parts] == [(0, 108), (108, 114), (114, 120)]
    assert [part.name for part in parts] == ["text/train", "text/valid", "text/test"]
    assert list(parts[1].lines()) == ["36", "37"]


def test_a_boundary_inside_a_line_moves_to_its_end(tmp_path):
    train, valid, test = cut(written(tmp_path, b"aaaaaaaaa\nbbbb\ncc\ndd"), (60, 20, 20))
    assert [list(part.lines()) for part in (train, valid, test)] == [["aaaaaaaaa", "bbbb"], ["cc"], ["dd"]]


@given(lengths=st.lists(st.integers(0, 9), min_size=220, max_size=300))
def test_the_parts_are_the_whole_text_in_order(tmp_path_factory, lengths):
    content = b"".join(b"x" * length + b"\n" for length in lengths)
    parts = cut(written(tmp_path_factory.mktemp("cut"), content))
    assert all(part.size > 0 for part in parts)
    assert "".join(block for part in parts for block in part.blocks()).encode() == content


def test_a_text_too_small_to_cut_says_how_many_lines_it_has(tmp_path):
    with pytest.raises(InputError, match=r"too small .*lines: 2\)\n.*train\.txt, valid\.txt and test\.txt"):
        cut(written(tmp_path, b"one\ntwo\n"))


def test_a_corpus_without_the_split_says_which_it_has(tmp_path):
    text = written(tmp_path, b"one\n")
    corpus = Corpus("small", text, None, text)
    assert corpus.split("test") is text
    with pytest.raises(InputError, match="corpus small has no split 'valid'; it has: train, test"):
        corpus.split("valid")


def test_texts_overlap_where_they_share_bytes_of_a_file_or_are_the_same(tmp_path):
    path, copy, other = (tmp_path / name for name in ("one", "copy", "other"))
    for each, content in ((path, b"a\nb\nc\n"), (copy, b"b\n"), (other, b"x\n")):
        each.write_bytes(content)
    middle = Text("middle", path, 2, 4)
    assert middle.overlaps(Text("whole", path))
    assert middle.overlaps(Text("copy", copy))
    assert not middle.overlaps(Text("before", path, 0, 2))
    assert not middle.overlaps(Text("after", path, 4))
    assert not middle.overlaps(Text("other", other))
