from dataclasses import replace

import numpy as np
import pytest

from recurlm.config import StreamBatches
from recurlm.errors import InputError
from recurlm.text.batching import Streams


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


def rows_of(batches):
    """Rows of inputs, targets and restarts of all batches, as lists."""
    restarts = [np.zeros(batch.input.shape, bool) if batch.restarts is None else batch.restarts for batch in batches]
    rows = ([batch.input for batch in batches], [batch.target for batch in batches], restarts)
    return [np.concatenate([np.asarray(part) for part in parts]).T.astype(int).tolist() for parts in rows]


def test_a_column_restarts_at_the_eos_before_the_first_token_of_a_document(text):
    """Columns of six: `0 1 2 0 0 0`, `3 0 4 0 0 5` and `0 0 6 0`."""
    batches = list(Streams(replace(text, document="blank-line"), StreamBatches(batch_size=3, bptt=2), 1).batches(0))
    inputs, targets, restarts = rows_of(batches)
    assert targets == [[0, 1, 2, 0, 0, 0], [3, 0, 4, 0, 0, 5], [0, 0, 6, 0, -100, -100]]
    assert inputs == [[0, 0, 1, 2, 0, 0], [0, 3, 0, 4, 0, 0], [5, 0, 0, 6, 0, 0]]
    assert restarts == [[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0]]
    assert [batch.restarts is None for batch in batches] == [False, False, False]


def test_a_batch_in_which_no_document_begins_has_no_restarts(encoded):
    text = replace(encoded([[1, 2, 3, 4, 5], [6, 7]]), document="line")
    batches = list(Streams(text, StreamBatches(batch_size=1, bptt=3), 1).batches(0))
    assert [None if batch.restarts is None else batch.restarts[:, 0].tolist() for batch in batches] == [
        [True, False, False],
        None,
        [True, False, False],
    ]


def test_restarts_rotate_with_their_column(text):
    documents = replace(text, document="line")
    plain = rows_of(list(Streams(documents, StreamBatches(batch_size=2, bptt=3), 1).batches(0)))
    options = StreamBatches(batch_size=2, bptt=3, partial_shuffle=True)
    source = Streams(documents, options, 1)
    turned = rows_of(list(source.batches(3)))
    offsets = source._rotations(3).tolist()
    assert any(offsets)
    for before, after in zip(plain, turned, strict=True):
        assert after == [column[offset:] + column[:offset] for column, offset in zip(before, offsets, strict=True)]


def test_one_document_restarts_nowhere_even_where_its_columns_rotate(encoded):
    source = Streams(encoded([range(1, 30)] * 4), StreamBatches(batch_size=3, bptt=5, partial_shuffle=True), 1)
    assert all(batch.restarts is None for epoch in range(3) for batch in source.batches(epoch))


def test_resets_by_chance_join_the_restarts_of_documents(text):
    options = StreamBatches(batch_size=3, bptt=6, reset_probability=0.999999)
    (batch,) = Streams(replace(text, document="blank-line"), options, 1).batches(0)
    assert batch.restarts.T.astype(int).tolist() == [[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 1], [1, 0, 1, 0, 0, 0]]
