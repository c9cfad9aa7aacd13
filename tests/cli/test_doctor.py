import json

import pytest
import torch
import typer
from typer.testing import CliRunner

from recurlm.cli.doctor import doctor
from recurlm.errors import RecurlmError
from recurlm.kernels import recurrent_sweep
from recurlm.models.lstm_cells import LSTMCell
from recurlm.version import CODE_VERSION


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    app = typer.Typer()
    app.command()(doctor)
    monkeypatch.delenv("RECURLM_DATA_DIR", raising=False)
    monkeypatch.setenv("RECURLM_CACHE_DIR", str(tmp_path / "cache"))
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_a_sound_machine_passes(invoke, tmp_path):
    threads, random_state = torch.get_num_threads(), torch.get_rng_state()
    result = invoke("--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert report["versions"]["recurlm"] == CODE_VERSION
    assert report["versions"]["torch"] == torch.__version__
    assert report["devices"][0] == "cpu"
    assert report["cache"]["folder"] == str(tmp_path / "cache")
    assert report["cache"]["writable"] is True
    assert report["corpora"]["python-docs"] == "embedded"
    assert report["corpora"]["ptb"] == "no"
    test = report["self_test"]["cpu"]
    assert test["passed"] is True
    assert test["largest_difference"] < 1e-4
    assert test["loss_after"] < test["loss_before"] / 2
    # the machine is left as it was
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_report_for_people(invoke, tmp_path):
    result = invoke()
    assert result.exit_code == 0
    for word in ("torch", "processor", "fast paths", "onednn_lstm", "writable", "corpus", "self-test   cpu: passed"):
        assert word in result.stdout
    assert not (tmp_path / "cache").exists()


def test_a_fast_path_that_computes_something_else_is_found(invoke, monkeypatch):
    def wrong(cell, input, state):
        output, after = recurrent_sweep.lstm(cell.weights, input, state)
        return output * 1.01, after

    monkeypatch.setattr(LSTMCell, "sweep", wrong)
    result = invoke()
    assert isinstance(result.exception, RecurlmError)
    assert result.exception.exit_code == 1
    assert "self-test   cpu: FAILED" in result.stdout


def test_a_fast_path_that_breaks_is_found(invoke, monkeypatch):
    def broken(cell, input, state):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(LSTMCell, "sweep", broken)
    result = invoke("--json")
    assert isinstance(result.exception, RecurlmError)
    assert json.loads(result.stdout)["self_test"]["cpu"] == {"passed": False, "error": "no kernel image is available"}


def test_a_loss_that_is_not_a_number_is_found(invoke, monkeypatch):
    def lost(cell, input, state):
        output, after = recurrent_sweep.lstm(cell.weights, input, state)
        return output * float("nan"), after

    monkeypatch.setattr(LSTMCell, "sweep", lost)
    report = json.loads(invoke("--json").stdout)["self_test"]["cpu"]
    assert report["passed"] is False
    assert report["loss_after"] is None


def test_wrong_folders_are_told(invoke, tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("--cache-dir", str(tmp_path / "file" / "below"), "--data-dir", str(tmp_path / "absent"))
    assert result.exit_code == 0
    assert "NOT writable; choose another with --cache-dir" in result.stdout
    assert "absent is missing" in result.stdout


def test_each_job_tells_what_computes_it(invoke, monkeypatch):
    monkeypatch.setattr("recurlm.diagnosis.has_tiles", lambda: False)
    jobs = json.loads(invoke("--json").stdout)["jobs"]
    assert set(jobs) == {"training", "scoring", "evaluation", "generation"}
    assert set(jobs["training"]) == {"auto", "bf16"}
    assert jobs["evaluation"]["default"].startswith("fp32; LSTM ")
    assert jobs["generation"] == {"default": "fp32, step by step from the equations"}


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_is_chosen_where_it_is_fast_and_said_to_be_slow_where_not(invoke, monkeypatch, fast):
    monkeypatch.setattr("recurlm.devices.bf16_is_fast", lambda: fast)
    training = json.loads(invoke("--json").stdout)["jobs"]["training"]
    assert training["auto"].split(";")[0] == ("bf16" if fast else "fp32")
    assert training["bf16"].startswith("bf16; LSTM ")
    assert training["bf16"].endswith("does not multiply bfloat16 in hardware") != fast


PATHS = [
    ({"has_bfloat16_tiles": True, "has_tiles": True, "onednn": True}, "in bfloat16 tiles of the compiled library"),
    ({"has_bfloat16_tiles": False, "has_tiles": True, "onednn": True}, "through oneDNN in bfloat16"),
    (
        {"has_bfloat16_tiles": False, "has_tiles": True, "onednn": False},
        "in bfloat16 tiles of the compiled library, widened to float32",
    ),
    ({"has_bfloat16_tiles": False, "has_tiles": False, "onednn": False}, "through oneDNN in float32"),
]


@pytest.mark.parametrize(("there", "path"), PATHS)
def test_the_path_of_an_lstm_is_the_first_that_can_be_had(invoke, monkeypatch, there, path):
    monkeypatch.setattr(recurrent_sweep, "has_bfloat16_tiles", lambda: there["has_bfloat16_tiles"])
    monkeypatch.setattr(recurrent_sweep, "has_tiles", lambda: there["has_tiles"])
    monkeypatch.setattr(recurrent_sweep, "runs", lambda operation: operation == "lstm fp32" or there["onednn"])
    report = invoke()
    assert f"training    --precision bf16: bf16; LSTM {path}; " in report.stdout


def test_a_missing_library_has_its_reason(invoke, monkeypatch):
    monkeypatch.setattr("recurlm.diagnosis.native_status", lambda: "no C++ compiler: none of g++ is installed")
    assert "library     no C++ compiler: none of g++ is installed" in invoke().stdout
