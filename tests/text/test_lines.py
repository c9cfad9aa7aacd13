import codecs
import io

import pytest

from recurlm.errors import CorruptFileError, InputError
from recurlm.text.lines import decoded_lines, fields_of, first_field, words_of
from recurlm.text.sources import Text, cut, whole_text
from recurlm.text.tokenization import Words

OTHER_SPACES = "\t\x0b\x0c\x1c\x85\u00a0\u1680\u2003\u2028\u2029\u202f\u3000"


def lines(content: bytes) -> list[str]:
    return list(decoded_lines(io.BytesIO(content), "text.txt"))


def test_only_spaces_separate_words():
    assert words_of(f"  the   a{OTHER_SPACES}b c ") == ["the", f"a{OTHER_SPACES}b", "c"]
    assert words_of("") == words_of("  ") == []


def test_words_of_a_line_are_the_tokens_of_a_text():
    line = f" the  a{OTHER_SPACES}b\r c "
    assert words_of(line) == list(Words().split(line))


def test_spaces_and_tabs_separate_fields():
    assert fields_of(" \tu-1 \t 2.5\u00a0\t") == ["u-1", "2.5\u00a0"]
    assert fields_of(" \t ") == []
    assert first_field("\tu-1\t the\ta  b") == ("u-1", "the\ta  b")
    assert first_field("u-1") == first_field("u-1 ") == ("u-1", "")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\r\nb\n", ["a", "b"]),
        (b"a\r\r\nb\r\n", ["a\r", "b"]),
        (b"a\rb\n", ["a\rb"]),
        (b"a\n\rb\n", ["a", "\rb"]),
        (b"a\nb\r", ["a", "b\r"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        ("a\u2028b\x0bc\n".encode(), ["a\u2028b\x0bc"]),
        (b"\n\n", ["", ""]),
        (b"", []),
    ],
)
def test_a_line_feed_and_one_carriage_return_before_it_end_a_line_of_a_pipe_and_of_a_file(tmp_path, content, expected):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    assert lines(content) == list(Text("text", path).lines()) == expected


ENGLISH = "“the cat” – café\nnaïve résumé\n"
ENCODINGS = [
    (ENGLISH.encode("cp1252"), "WINDOWS-1252"),
    ("café noir, naïve\n".encode("latin-1"), "LATIN1"),
    ("今天天气很好\n我们去公园\n".encode("gb18030"), "GB18030"),
    (codecs.BOM_UTF16_LE + ENGLISH.encode("utf-16-le"), "UTF-16"),
    (codecs.BOM_UTF16_BE + ENGLISH.encode("utf-16-be"), "UTF-16"),
    (b"the cat\n".decode().encode("utf-16-le"), "UTF-16LE"),
    (b"the cat\n".decode().encode("utf-16-be"), "UTF-16BE"),
    (codecs.BOM_UTF32_LE + ENGLISH.encode("utf-32-le"), "UTF-32"),
    ("the cat\n".encode("utf-32-be"), "UTF-32BE"),
]


@pytest.mark.parametrize(("content", "encoding"), ENCODINGS)
def test_the_advice_names_the_encoding_for_texts_and_for_lists(tmp_path, content, encoding):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"iconv -f {encoding} -t UTF-8 text.txt > converted.txt"):
        list(whole_text(path).lines())
    with pytest.raises(InputError, match=f"iconv -f {encoding} -t UTF-8 text.txt > converted.txt"):
        lines(content)


@pytest.mark.parametrize(("content", "encoding"), ENCODINGS)
def test_the_advised_command_converts_the_text(content, encoding):
    text = content.decode({"LATIN1": "latin-1", "WINDOWS-1252": "cp1252"}.get(encoding, encoding))
    assert list(decoded_lines(io.BytesIO(text.encode()), "converted.txt"))


def test_the_advice_for_standard_input_is_a_pipe():
    with pytest.raises(InputError, match=r"\| iconv -f UTF-16 -t UTF-8 \| recurlm"):
        list(decoded_lines(io.BytesIO("a\n".encode("utf-16")), "standard input"))


@pytest.mark.parametrize(("name", "read"), [("standard input", 2), ("a file", 2 + 1000)])
def test_a_pipe_is_not_read_on_for_the_advice_and_a_file_a_thousand_lines(name, read):
    given = []

    def raw():
        for number in range(5000):
            given.append(number)
            yield b"caf\xe9\n" if number == 1 else b"plain\n"

    with pytest.raises(InputError, match=r"line 2: not UTF-8 at byte 4 of the line\n.*LATIN1"):
        list(decoded_lines(raw(), name))
    assert len(given) == read


def test_a_file_is_judged_by_the_lines_after_the_first_that_is_not_utf8():
    content = "a \u4eca b\n".encode("gb18030") + "\u4eca\u5929\u5929\u6c14\n".encode("gb18030") * 5
    with pytest.raises(InputError, match="iconv -f GB18030"):
        list(decoded_lines(io.BytesIO(content), "a file"))
    with pytest.raises(InputError, match="iconv -f LATIN1"):
        list(decoded_lines(io.BytesIO(content), "standard input"))


def test_one_odd_byte_does_not_make_a_text_chinese():
    with pytest.raises(InputError, match="LATIN1"):
        lines("plain text with one \xe9\xe8 here and \xe9 there\n".encode("latin-1"))


def test_a_zero_byte_alone_is_part_of_a_word():
    assert lines(b"a\0b c\n") == ["a\0b c"]


def test_a_gzip_file_by_another_name_is_recognised(tmp_path):
    import gzip

    path = tmp_path / "text.txt"
    path.write_bytes(gzip.compress(b"the cat\n"))
    with pytest.raises(InputError, match=r"it is a gzip file; give its name the ending \.gz"):
        whole_text(path)
    with pytest.raises(CorruptFileError, match="it is a gzip file"):
        list(decoded_lines([path.read_bytes()], "model.arpa", error=CorruptFileError))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
        (b"PK\x03\x04\x14\0", "a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a file of an old version of Word or Excel"),
        (b"{\\rtf1\\ansi", "a document in RTF"),
    ],
)
def test_a_document_of_another_program_is_named_and_not_taken_for_an_old_encoding(tmp_path, head, kind):
    path = tmp_path / "book.txt"
    path.write_bytes(head + bytes(range(256)))
    with pytest.raises(InputError, match=f"it is {kind}.*\nsave its text as plain text"):
        whole_text(path)


@pytest.mark.parametrize("content", [b"word " * 5000, b"word " * 5000 + b"\n", b"w\n"])
def test_a_text_of_one_line_says_so_and_what_to_do(tmp_path, content):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"has one line, .*\n.*fold -s -w 1000 text\.txt > lines\.txt; .*train\.txt"):
        cut(whole_text(path))


def test_a_line_of_a_text_has_a_limit(tmp_path, monkeypatch):
    from recurlm.text import sources

    monkeypatch.setattr(sources, "LONGEST_LINE", 100)
    path = tmp_path / "text.txt"
    path.write_bytes(b"a\n" + b"b" * 100 + b"\n")
    assert len(list(Text("text", path).lines())) == 2
    path.write_bytes(b"a\n" + b"b" * 99 + b"\n" + b"c" * 101)
    with pytest.raises(InputError, match=r"the line at offset 102 is longer than 100 bytes.*\n.*RECURLM_LIMITS"):
        list(Text("text", path).blocks(10))
