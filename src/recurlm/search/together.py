"""A search by several processes of this machine, and of every other machine where the same command runs."""

import math
from dataclasses import asdict
from typing import Any

from recurlm.errors import RecurlmError
from recurlm.progress import Watcher
from recurlm.search.findings import Findings
from recurlm.search.search import Search, SearchRequest, open_search, tell_space
from recurlm.training.request import parse_duration
from recurlm.training.seed_worker import as_values
from recurlm.training.stopping import StopRequest
from recurlm.wording import counted
from recurlm.workers import Told, Workers

WORKER = "recurlm.search.search_worker"


def search_together(request: SearchRequest, watcher: Watcher) -> Findings:
    """Finds the values with the lowest validation perplexity with `request.processes` processes.

    A process that is killed is told, and the others go on with its trial. Raises as `search`, and RecurlmError if no
    process is left before there are enough trials.
    """
    seconds = math.inf if request.time is None else parse_duration(request.time, "--time")
    opened, count = open_search(request), request.processes or 1
    tell_space(opened, request.trials, watcher)
    each = (seconds - opened.study.seconds) / count
    asked = _values(request) | {"seconds": each if math.isfinite(each) else None}
    failed: list[Told] = []
    with StopRequest() as stop, Workers(WORKER, count) as workers:

        def look() -> None:
            if stop.requested:
                workers.stop()

        for told in workers.answers([asked] * count, look):
            _hear(told, watcher, stop)
            failed += [told] if told.error else []
    opened.study.refresh()
    if stop.requested:
        opened.raise_stopped(request.trials)
    if len(failed) == count and len(opened.study.over) < request.trials:
        raise _unfinished(opened, request.trials, failed[0].code)
    return opened.findings()


def _values(request: SearchRequest) -> dict[str, Any]:
    """A request as JSON holds it."""
    return {name: value for name, value in asdict(request).items() if name != "time"} | {
        "training": as_values(request.training)
    }


def _unfinished(opened: Search, trials: int, code: int) -> RecurlmError:
    """The error of a search that has lost all its processes, with the exit code of the first loss."""
    error = RecurlmError(
        f"{opened.folder}: no process is left, and {len(opened.study.over)} of {counted(trials, 'trial')} are done\n"
        "go on with the same command and --resume"
    )
    error.exit_code = code
    return error


def _hear(told: Told, watcher: Watcher, stop: StopRequest) -> None:
    values = told.values
    if "tick" in values:
        watcher.tick(values["done"], values["tick"])
    elif "say" in values:
        watcher.say(values["say"])
    elif "warn" in values or "warning" in values:
        watcher.warn(values.get("warn") or values["warning"])
    elif told.error and not stop.requested:
        watcher.warn(f"recurlm: process {told.request + 1} of the search: {told.error}")
