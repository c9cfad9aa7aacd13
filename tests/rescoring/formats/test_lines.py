import pytest

from recurlm.errors import InputError
from recurlm.rescoring.formats.lines import lines_of, name_of, number, shortened


def test_a_wrong_value_is_shown_whole_up_to_40_characters():
    assert shortened("x" * 40) == "x" * 40
    assert shortened("x" * 41) == "x" * 40 + "…"


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("-2.5", -2.5), ("+.5", 0.5), ("3.", 3), ("1e-3", 0.001)])
def test_a_number_is_written_in_decimal_digits(text, value):
    assert number(text, "a score", "list, line 1") == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e999", "0x10", "1_000", " 1", "١"])
def test_what_is_no_finite_number_is_refused_with_its_place(text):
    with pytest.raises(InputError, match="list, line 1: a score should be a number, not "):
        number(text, "a score", "list, line 1")


def test_lines_keep_their_numbers_where_blank_lines_are_left_out(tmp_path):
    path = tmp_path / "list"
    path.write_text("a\n\n \t\nb\n")
    assert list(lines_of(path)) == [("a", f"{path}, line 1"), ("b", f"{path}, line 4")]
    assert [name_of("-"), name_of(path)] == ["standard input", str(path)]
