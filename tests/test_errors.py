import pickle

from recurlm.errors import LONGEST_MESSAGE_LINE, InputError, RecurlmError


def test_a_message_of_usual_length_stays_as_it_is() -> None:
    message = "my.txt, line 3: holds the word <eos> itself\nremove it, or name another text"
    assert str(InputError(message)) == message
    assert str(RecurlmError()) == ""


def test_a_long_line_is_shortened_in_its_middle_and_the_other_lines_are_not() -> None:
    first, second = str(InputError("begin" + "x" * 100_000 + "end\nwhat to do")).split("\n")
    assert first.startswith("beginxxx")
    assert first.endswith("xxxend")
    assert " … " in first
    assert len(first) <= LONGEST_MESSAGE_LINE + 3
    assert second == "what to do"


def test_many_lines_become_the_first_and_the_last() -> None:
    lines = [str(number) for number in range(100)]
    assert str(InputError("\n".join(lines))).split("\n") == [*"0123", "…", "96", "97", "98", "99"]
    assert str(InputError("\n".join(lines[:8]))).split("\n") == lines[:8]


def test_half_of_a_surrogate_pair_is_written_as_an_escape() -> None:
    assert str(InputError("the text \ud83d")) == r"the text \ud83d"


def test_a_byte_of_a_file_name_that_is_not_utf8_is_written_as_an_escape() -> None:
    assert str(InputError("no file named a\udcff")) == r"no file named a\xff"


def test_an_error_passes_between_processes() -> None:
    assert str(pickle.loads(pickle.dumps(InputError("x" * 5000)))) == str(InputError("x" * 5000))
