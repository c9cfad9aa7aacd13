import pytest

from recurlm.errors import UsageError
from recurlm.rescoring.formats.writing import writer


def test_an_unknown_output_format_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match="no output format named 'ctm'; there are best, nbest, scores, jsonl"):
        writer("ctm")
