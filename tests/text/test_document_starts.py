from dataclasses import replace

import numpy as np
import pytest

from recurlm.errors import InputError


@pytest.fixture
def text(encoded):
    """Lines "", "1 2", "", "", "3", "4", "" and, in a further file, "5", "", "6"."""
    return replace(encoded([[], [1, 2], [], [], [3], [4], [], [5], [], [6]]), file_starts=np.array([11]))


def test_the_hand_made_text_is_as_its_positions_say(text):
    assert text.ids.tolist() == [0, 1, 2, 0, 0, 0, 3, 0, 4, 0, 0, 5, 0, 0, 6, 0]


@pytest.mark.parametrize(
    ("rule", "starts"),
    [("file", [11]), ("blank-line", [1, 6, 11, 14]), ("line", [1, 4, 5, 6, 8, 10, 11, 13, 14])],
)
def test_documents_begin_where_the_rule_says(text, rule, starts):
    assert text.document_starts(rule).tolist() == starts


def test_a_file_begins_a_document_where_the_file_before_it_ends_without_a_blank_line(encoded):
    text = replace(encoded([[1], [2], [], [3]]), file_starts=np.array([2]))
    assert text.document_starts("blank-line").tolist() == [2, 5]


def test_blank_lines_at_the_end_begin_no_document(encoded):
    assert encoded([[1], [], []]).document_starts("blank-line").tolist() == []
    assert encoded([[], []]).document_starts("blank-line").tolist() == []


def test_one_file_is_one_document(encoded):
    assert encoded([[1], [2]]).document_starts("file").tolist() == []


def test_a_part_keeps_the_files_that_begin_in_it(text):
    known = replace(text, missing=np.array([6]))
    for whole in (text, known):
        assert whole.first(12, None).file_starts.tolist() == [11]
        assert whole.first(11, None).file_starts.tolist() == []
    assert text.first(11, None).document_starts("line").tolist() == [1, 4, 5, 6, 8, 10]


def test_blank_lines_cannot_be_told_where_unknown_tokens_are_left_out(text):
    with pytest.raises(InputError, match="made: 3 unknown tokens left out"):
        replace(text, left_out=3).document_starts("blank-line")
