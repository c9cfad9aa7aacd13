import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recurlm.text.codec import EncodedText
from recurlm.text.sources import Corpus, Text

sys.path.insert(0, str(Path(__file__).resolve().parent))
pytest_plugins = ["small_runs"]
torch.set_num_threads(1)
# a loaded machine is slow without being wrong
settings.register_profile("recurlm", deadline=None)
settings.load_profile("recurlm")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run the tests that are marked thorough, which take long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether the run was started with ``--all``."""
    return bool(request.config.getoption("--all"))


SMALL_TEXT = """the cat sat on the mat
the dog sat on the log

a cat and a dog met on the mat
the log was long and the mat was flat
a dog ran
"""


@pytest.fixture
def small_text() -> str:
    """Six sentences, one of them empty; 32 words and 15 word types."""
    return SMALL_TEXT


@pytest.fixture
def write_text(tmp_path: Path) -> Callable[..., Text]:
    """Writes content to a file of its own and returns it as a text."""

    def write(content: str, name: str = "text") -> Text:
        path = tmp_path / f"{name}.txt"
        path.write_bytes(content.encode())
        return Text(name, path)

    return write


@pytest.fixture
def write_corpus(write_text: Callable[..., Text]) -> Callable[..., Corpus]:
    """Writes a training text, and the others where they are given, and returns the corpus."""

    def write(train: str, valid: str | None = None, test: str | None = None) -> Corpus:
        held_out = [None if text is None else write_text(text, name) for name, text in (("v", valid), ("t", test))]
        return Corpus("small", write_text(train, "train"), *held_out)

    return write


@pytest.fixture(scope="session")
def encoded() -> Callable[..., EncodedText]:
    """Ids of sentences, given without their `<eos>`, as an encoded text."""

    def make(sentences: list[list[int]], oov: int = 0) -> EncodedText:
        ids = np.array([index for sentence in sentences for index in [*sentence, 0]], np.uint16)
        return EncodedText(ids, "made", "0123456789abcdef", 5 * len(ids), oov)

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with Penn Treebank: RECURLM_DATA_DIR, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    for folder in (Path(os.environ.get("RECURLM_DATA_DIR") or beside), beside):
        if (folder / "ptb" / "ptb.train.txt").is_file():
            return folder
    pytest.skip("no ptb/ptb.train.txt in RECURLM_DATA_DIR or in shared/data beside the checkout")


class NoQuestions(TorchDispatchMode):
    """Refuses operations whose result the host must wait for: numbers to Python, and shapes that depend on values."""

    QUESTIONS = frozenset(
        {
            torch.ops.aten._local_scalar_dense.default,
            torch.ops.aten.nonzero.default,
            torch.ops.aten.masked_select.default,
            torch.ops.aten.equal.default,
        }
    )

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        picks = function is torch.ops.aten.index.Tensor and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        assert function not in self.QUESTIONS, f"asks the device: {function}"
        assert not picks, "asks the device: picks by truth values"
        return function(*args, **(kwargs or {}))


@pytest.fixture
def no_questions() -> Callable[[], NoQuestions]:
    """A context in which the device may be asked nothing, as while a CUDA graph is captured."""
    return NoQuestions
