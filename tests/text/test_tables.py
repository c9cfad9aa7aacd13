import io

import pandas
import pytest

from recurlm.errors import InputError, UsageError
from recurlm.text.tables import read_table, table_kind

CSV = 'item,sentence\n1,"the ""red"" fruit, sweet"\n\n2,it is\n'


def cells(content: str, kind: str = "csv") -> list[dict[str, object]]:
    return [row.cells for row in read_table(content.splitlines(), kind, "items").rows]


@pytest.mark.parametrize(
    ("file", "kind"),
    [("items.csv", "csv"), ("a.b/items.TSV", "tsv"), ("items.jsonl.gz", "jsonl")],
)
def test_the_name_of_a_file_says_its_kind(file: str, kind: str):
    assert table_kind(file) == kind
    assert table_kind(file, "tsv") == "tsv"


@pytest.mark.parametrize("file", ["-", "items.txt", "csv.d/items"])
def test_a_name_that_says_no_kind_needs_the_option(file: str):
    with pytest.raises(UsageError, match="add --table csv, tsv or jsonl"):
        table_kind(file)


@pytest.mark.parametrize(("kind", "separator"), [("csv", ","), ("tsv", "\t")])
def test_cells_are_those_that_pandas_reads(kind: str, separator: str):
    frame = pandas.DataFrame({"item": ["1", "2"], "sentence": ['a "b", c\td', "two\nlines"], "note": ["é", " x "]})
    content = frame.to_csv(index=False, sep=separator)
    expected = pandas.read_csv(io.StringIO(content), sep=separator, dtype=str).to_dict("records")
    assert cells(content, kind) == expected == frame.to_dict("records")


def test_json_lines_keep_the_types_of_their_values():
    content = '{"item": 1, "sentence": "a b", "tags": ["x"]}\n\n{"tags": null, "sentence": "c", "item": 2.5}\n'
    assert cells(content, "jsonl") == [
        {"item": 1, "sentence": "a b", "tags": ["x"]},
        {"item": 2.5, "sentence": "c", "tags": None},
    ]


def test_rows_are_numbered_without_header_and_blank_lines_and_placed_by_the_lines_of_the_file():
    table = read_table([*CSV.splitlines(), '3,"two', 'lines"', "4,x"], "csv", "items.csv")
    assert table.columns == ("item", "sentence")
    assert [(row.number, row.place) for row in table.rows] == [
        (1, "items.csv, line 2"),
        (2, "items.csv, line 4"),
        (3, "items.csv, line 5"),
        (4, "items.csv, line 7"),
    ]


def test_rows_are_read_as_they_come():
    def endless():
        yield "sentence"
        while True:
            yield "a b"

    rows = read_table(endless(), "csv", "items.csv").rows
    assert [next(rows).number for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("", "csv", "items: the table is empty"),
        ("\n\n", "jsonl", "items: the table is empty"),
        ("a,b\n", "csv", "items: the table has a header and no rows"),
        ("a,b,a\n1,2,3\n", "csv", "items, line 1: 2 columns are named 'a'; rename all but one"),
        ('{"a": 1, "a": 2}\n', "jsonl", "items, line 1: the key 'a' occurs twice"),
        ("a,b\n1,2\n1,2,3\n", "csv", "items, line 3: the row has 3 cells and the header 2"),
        ("a,b\n1\n", "csv", "items, line 2: the row has 1 cells and the header 2"),
        ('a,b\n1,"x" y\n', "csv", "items, line 2: the row cannot be read"),
        ('a,b\n1,2\n1,"x\ny\n', "csv", "items, line 3: the row cannot be read"),
        ("a\n" + "x" * 200_000 + "\n", "csv", "items, line 2: the row cannot be read: field larger"),
        ('{"a": 1}\n{"b": 1}\n', "jsonl", "items, line 2: the object lacks 'a'"),
        ('{"a": 1}\n{"a": 1, "b": 1}\n', "jsonl", "items, line 2: the object adds 'b'"),
        ('{"a": 1}\n[1]\n', "jsonl", "items, line 2: not a JSON object"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(content: str, kind: str, message: str):
    with pytest.raises(InputError) as refusal:
        cells(content, kind)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("header", "kind", "advice"),
    [
        ("item,Sentence", "csv", "items, line 1: there is no column 'sentence'; did you mean 'Sentence'?"),
        ("item,sentense", "csv", "did you mean 'sentense'?"),
        ("item,text", "csv", "the columns are 'item', 'text'"),
        ("item;sentence", "csv", "save the table with commas or tabs"),
        ("item\tsentence", "csv", "read the table with --table tsv"),
        ("item,sentence", "tsv", "read the table with --table csv"),
    ],
)
def test_a_missing_column_is_named_with_the_nearest_ones(header: str, kind: str, advice: str):
    cells = header.count(",") + 1 if kind == "csv" else 1
    table = read_table([header, ",".join("1" * cells)], kind, "items")
    with pytest.raises(InputError) as refusal:
        table.check_column("sentence")
    assert advice in str(refusal.value)
