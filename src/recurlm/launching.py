"""Starts several processes that carry out one command on this machine, through torch's own launcher."""

import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from recurlm.capacity import processors
from recurlm.distributed import LOST, LostProcessError
from recurlm.errors import StoppedError
from recurlm.launched import LAUNCHED_HERE, LAUNCHER, NOTES, STOPPED
from recurlm.workers import signal_name

HERE = "127.0.0.1"
TALKATIVE = ("agent.server.api", "multiprocessing.api")
"""Parts of torch's launcher that log what the user learns from this program in plain words."""


def launch(processes: int, arguments: Sequence[str], restarts: int = 0) -> int:
    """Runs `recurlm` with these arguments in several processes; returns the exit code of the command.

    The processes share the threads of this one. If a process was killed or did not answer, all start again with
    --resume, at most `restarts` times; after that, LostProcessError is raised.
    """
    for name in TALKATIVE:
        logging.getLogger(f"torch.distributed.elastic.{name}").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors() // processes)))
    if loopback := _loopback():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)  # other machines have no business with gradients
    for number in range(1, restarts + 1):
        try:
            return _launched(processes, arguments)
        except LostProcessError as error:
            print(
                f"recurlm: {str(error).partition(chr(10))[0]}\nstarting again: {number} of {restarts}",
                file=sys.stderr,
                flush=True,
            )
            arguments = [*arguments, *(["--resume"] if "--resume" not in arguments else [])]
    return _launched(processes, arguments)


def _launched(processes: int, arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="recurlm-") as notes:
        os.environ |= {NOTES: notes, LAUNCHER: str(os.getpid())}
        try:
            elastic_launch(_config(processes, notes), sys.executable)("-m", "recurlm", *arguments)
        except ChildFailedError as error:
            return _exit_code({rank: failure.exitcode for rank, failure in error.failures.items()}, processes)
        except SignalException as error:
            if Path(notes, STOPPED).exists():
                return StoppedError.exit_code
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from error
            return 128 + int(error.sigval)
        return 0


def _config(processes: int, notes: str) -> LaunchConfig:
    """How torch's launcher starts the processes; `notes` is a folder for its own files."""
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=LAUNCHED_HERE,
        rdzv_backend="static",
        rdzv_endpoint=f"{HERE}:{_free_port()}",
        rdzv_configs={"rank": 0},
        local_addr=HERE,
        logs_specs=DefaultLogsSpecs(log_dir=notes),
        max_restarts=0,
        monitor_interval=0.1,
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((HERE, 0))
        port: int = found.getsockname()[1]
        return port


def _loopback() -> str | None:
    """The name of the network interface that only this machine reaches; None where no usual name is found."""
    names = {name for _, name in socket.if_nameindex()}
    return next((name for name in ("lo", "lo0") if name in names), None)


def _exit_code(codes: Mapping[int, int], processes: int) -> int:
    """The exit code of a command whose processes failed with these codes, negative where a signal killed one.

    The codes stand in the order in which the launcher saw them: after the first one, it ends the other processes.

    Raises LostProcessError if a process was killed, or if the others lost one that still runs.
    """
    told = [code for code in codes.values() if code > 0 and code != LOST]
    if told:
        return told[0]
    rank, code = next(iter(codes.items()))
    cause = (
        f"process {rank + 1} of {processes} was killed ({signal_name(code)})"
        if code < 0
        else "a process did not answer"
    )
    raise LostProcessError(f"{cause}, so all {processes} ended")
