from collections.abc import Iterator

import pytest

from recurlm.serving.options import ServerOptions
from serving.http_server import Server, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of the recorded run, under the name fruit, with room for endless texts.

    The server ends with its module: its event loop would lose its timers when another test replaces the clock.
    """
    with running_server(ServerOptions(tokens=10**9, seconds=60)) as server:
        yield server
