"""A worker of `search --processes`: joins a search and carries out trials until there are enough."""

import signal
from typing import Any

from recurlm.devices import keep_freed_memory
from recurlm.search.search import SearchRequest, open_search
from recurlm.training.seed_worker import TellingWatcher, from_values, take_gpu
from recurlm.workers import Tell, Values, serve


def search(values: dict[str, Any], tell: Tell) -> Values:
    """Carries out trials of the search of a request, for some seconds at most."""
    keep_freed_memory()
    take_gpu()
    training = from_values(values["training"])
    request = SearchRequest(training, tuple(values["vary"]), values["trials"], processes=values["processes"])
    open_search(request).carry_out(request.trials, values["seconds"] or float("inf"), TellingWatcher(tell))
    return {}


if __name__ == "__main__":
    serve(search, stop=lambda: signal.raise_signal(signal.SIGTERM))
