from collections.abc import Iterator

import pytest
import torch

from recurlm.config import ModelOptions
from recurlm.errors import InputError, UsageError
from recurlm.models.language_model import LanguageModel
from recurlm.scoring.scorer import LINES_AT_ONCE, Scorer, ScoringOptions
from recurlm.scoring.stimuli import Stimuli, StimulusWriter
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

CODEC = Codec(Words(), Vocabulary(("<eos>", *"ab")))


@pytest.fixture
def writer() -> StimulusWriter:
    return StimulusWriter(Stimuli("sentence", "csv", "items.csv"), CODEC.tokenization)


@pytest.fixture
def scorer(writer: StimulusWriter) -> Scorer:
    torch.manual_seed(0)
    model = LanguageModel(ModelOptions(embedding_size=4, hidden_sizes=(4,)), 3).eval()
    return Scorer(model, CODEC, ScoringOptions(predictions=True), place=writer.place)


def test_rows_of_an_endless_table_are_written_as_they_come(writer: StimulusWriter, scorer: Scorer):
    read = 0

    def table() -> Iterator[str]:
        nonlocal read
        yield "item,sentence"
        while True:
            read += 1
            yield f"{read},a b"

    scores = scorer.lines(writer.scored_parts(table()))
    for number in range(1, LINES_AT_ONCE + 2):
        rows = writer.line(next(scores)).splitlines()
        assert [row.split("\t")[:4] for row in rows[-2:]] == [
            [str(number), str(number), "1", "a"],
            [str(number), str(number), "2", "b"],
        ]
        assert len(rows) == (3 if number == 1 else 2)
    assert read <= 2 * LINES_AT_ONCE + 2


def test_an_unknown_word_is_named_with_the_line_of_its_file_in_every_block(writer: StimulusWriter, scorer: Scorer):
    table = ["item,sentence", *["1,a"] * (LINES_AT_ONCE + 5), "", "2,a zebra"]
    rows = map(writer.line, scorer.lines(writer.scored_parts(table)))
    with pytest.raises(InputError, match=f"items.csv, line {LINES_AT_ONCE + 8}: the token 'zebra'"):
        list(rows)


def test_sentences_as_rows_have_no_regions():
    with pytest.raises(UsageError, match="a row for each sentence"):
        Stimuli("sentence", "csv", "items.csv", regions="regions", lines=True)
