import json
from pathlib import Path

import pytest

from recurlm.errors import CorruptFileError, InputError
from recurlm.runs.metrics import read_metrics

ENTRIES = [{"event": "step", "step": 5, "loss": 6.0}, {"event": "epoch", "step": 10}, {"event": "final", "run": "é"}]


def run(folder: Path, entries: list[dict[str, object]] = ENTRIES, tail: str = "") -> Path:
    content = "".join(json.dumps(entry) + "\n" for entry in entries) + tail
    (folder / "metrics.jsonl").write_text(content, "utf-8")
    return folder


def test_the_lines_of_the_file_are_read(tmp_path):
    assert read_metrics(run(tmp_path)) == ENTRIES


@pytest.mark.parametrize("tail", ['{"event": "step", "st', "\xff", "\n", "17"])
def test_a_last_line_that_is_not_whole_is_left_out(tmp_path, tail):
    assert read_metrics(run(tmp_path, tail=tail)) == ENTRIES


def test_damage_before_the_last_line_is_named(tmp_path):
    run(tmp_path, ENTRIES[:1], tail='{"event": broken\n{}\n')
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl line 2: not a JSON object"):
        read_metrics(tmp_path)


def test_a_folder_without_the_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.jsonl: missing"):
        read_metrics(tmp_path)
