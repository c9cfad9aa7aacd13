import json
import shutil
from pathlib import Path

import pytest

import recurlm
from recurlm.errors import InputError, UsageError

FIXTURE = Path(__file__).parent.parent / "fixtures" / "0.1.0" / "run"
METRICS = [json.loads(line) for line in (FIXTURE / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> recurlm.Run:
    """A copy of the run that version 0.1.0 wrote."""
    return recurlm.open_run(shutil.copytree(FIXTURE, tmp_path / "fruit"))


def test_figures_are_those_of_the_journal(run: recurlm.Run) -> None:
    assert run.metrics == METRICS
    assert run.final == METRICS[-1]
    assert run.finished
    assert run.perplexities == {"valid": METRICS[-1]["valid_perplexity"], "test": METRICS[-1]["test_perplexity"]}
    assert run.signature == METRICS[-1]["signature"]
    assert run.config["parameters"] == run.model.network.parameter_count()
    assert run.model is run.model


def test_a_run_in_progress_has_the_figures_of_its_last_epoch(run: recurlm.Run) -> None:
    entries = "".join(json.dumps(entry) + "\n" for entry in METRICS[:-1])
    (run.path / "metrics.jsonl").write_text(entries)
    assert not run.finished
    assert run.perplexities == {"valid": METRICS[-2]["valid_perplexity"]}
    assert f"not finished: {METRICS[-2]['epoch']} epoch" in str(run)


def test_a_run_without_a_journal_has_no_figures(run: recurlm.Run) -> None:
    (run.path / "metrics.jsonl").unlink()
    assert (run.metrics, run.final, run.perplexities, run.finished) == ([], {}, {}, False)
    assert "no epoch logged" in str(run)
    with pytest.raises(InputError, match=r"metrics\.jsonl: missing"):
        run.plot()


def test_a_strange_journal_is_shown_as_far_as_it_can_be(run: recurlm.Run) -> None:
    (run.path / "metrics.jsonl").write_text(
        '{"event": "final", "seconds": "x", "test_perplexity": [1], "step": true}\n'
    )
    assert run.perplexities == {}
    assert "finished:" in str(run)


def test_what_print_and_a_notebook_show(run: recurlm.Run) -> None:
    shown = str(run).splitlines()
    assert [line.split()[0] for line in shown] == ["run", "model", "state", "valid", "test"]
    assert f"perplexity {METRICS[-1]['valid_perplexity']:.2f}  [{METRICS[-1]['valid_signature']}]" in shown[3]
    assert f"perplexity {METRICS[-1]['test_perplexity']:.2f}  [{METRICS[-1]['signature']}]" in shown[4]
    assert repr(run).startswith(f"Run('{run.path}': ")
    assert repr(run).endswith(f"test {METRICS[-1]['test_perplexity']:.2f})")
    assert run._repr_html_().count("<tr>") == 5


def test_a_picture_is_shown_and_written(run: recurlm.Run, tmp_path: Path) -> None:
    picture = run.plot(out=tmp_path / "curves.png")
    assert picture._repr_svg_().startswith("<?xml")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "SVG" in repr(picture)
    assert "Perplexity of 2 runs" in run.plot(recurlm.Run(FIXTURE)).svg


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        recurlm.Run(tmp_path)


def test_one_string_is_refused_where_lines_are_scored(run: recurlm.Run) -> None:
    with pytest.raises(UsageError, match=r"not one string: write \[text\]"):
        run.model.score("the red fruit")
    assert len(run.model.score(["the red fruit"])) == 1
