import io
import sys
from pathlib import Path

import pandas
import pytest

import recurlm
from recurlm.errors import UsageError
from recurlm.scoring.formats import Table
from recurlm.scoring.scores import Scores
from recurlm.text.unknown import UnknownRule

RUN = Path(__file__).parent.parent / "fixtures" / "0.1.0" / "run"


@pytest.mark.parametrize("oov", ["unk", "skip"])
@pytest.mark.parametrize("after", [None, "the"])
def test_the_table_is_the_one_that_pandas_reads_from_the_command(oov: str, after: str | None) -> None:
    options = recurlm.ScoringOptions(predictions=True, unknown=UnknownRule.parse(oov), after=after)
    scores = recurlm.load(RUN).score(["the red fruit", "the unheard NA fruit"], options=options)
    writer = Table()
    written = writer.head() + "".join(map(writer.line, scores))
    read = pandas.read_csv(
        io.StringIO(written),
        sep="\t",
        keep_default_na=False,
        na_values={"rank": "NA", "id": "NA", "logprob": "NA", "surprisal": "NA", "entropy": "NA"},
    )
    table = scores.to_pandas()
    assert list(table.columns) == list(read.columns)
    read = read.astype({"id": "Int64", "rank": "Int64", "oov": bool})
    pandas.testing.assert_frame_equal(table, read, rtol=1e-8, check_dtype=False)
    assert [str(table[name].dtype) for name in ("id", "rank", "oov")] == ["Int64", "Int64", "bool"]


def test_without_predictions_rank_and_entropy_are_missing() -> None:
    table = recurlm.load(RUN).score(["the red fruit"]).to_pandas()
    assert table["rank"].isna().all()
    assert table["entropy"].isna().all()
    assert table["surprisal"].notna().all()


def test_no_lines_make_an_empty_table() -> None:
    assert list(Scores().to_pandas().columns) == list(Table.COLUMNS)


def test_an_absent_pandas_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'recurlm\[pandas\]'"):
        Scores().to_pandas()
