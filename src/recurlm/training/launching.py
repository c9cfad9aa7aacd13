"""Starts several processes that train one model on this machine, through torch's own launcher."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from recurlm.errors import RecurlmError, StoppedError

HERE = "127.0.0.1"


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Runs `recurlm` with these arguments in several processes; returns the exit code of the command.

    The processes share the threads of this one. Raises RecurlmError if a process was killed.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _processors() // processes)))
    try:
        elastic_launch(_config(processes), sys.executable)("-m", "recurlm", *arguments)
    except ChildFailedError as error:
        return _exit_code(error, processes)
    except SignalException:
        return StoppedError.exit_code
    return 0


def _config(processes: int) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="recurlm",
        rdzv_backend="static",
        rdzv_endpoint=f"{HERE}:{_free_port()}",
        rdzv_configs={"rank": 0},
        local_addr=HERE,
        max_restarts=0,
        monitor_interval=0.1,
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HERE, 0))
        port: int = found.getsockname()[1]
        return port


def _processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _exit_code(error: ChildFailedError, processes: int) -> int:
    """The exit code of the process that failed first. Raises RecurlmError if a signal killed it."""
    number, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        return failure.exitcode
    raise RecurlmError(
        f"process {number + 1} of {processes} was killed ({signal.Signals(-failure.exitcode).name}), so the others "
        "ended\ngo on from the last checkpoint with the same command and --resume"
    )
