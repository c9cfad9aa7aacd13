from collections.abc import Iterator

import pytest

from recurlm.serving.options import ServerOptions
from serving.http_server import Server, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server of the recorded run, under the name fruit, with room for endless texts."""
    with running_server(ServerOptions(tokens=10**9, seconds=60)) as server:
        yield server
