"""A `recurlm` for a shell that does not load torch at each call: a server has loaded it, and forks for each command.

`python warm_command.py SOCKET` is the server; `python warm_command.py SOCKET WORD…` runs one command in it, with the
working folder and the standard streams of the caller, and ends with the command's exit code.
"""

import array
import json
import os
import socket
import sys
import time

STREAMS = 3
LARGEST_REQUEST = 1 << 16


def call(path: str, words: list[str]) -> int:
    """Sends words, working folder and streams to the server; returns the exit code of the command."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        request = json.dumps([os.getcwd(), words]).encode()
        streams = array.array("i", range(STREAMS))
        connection.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        return int(connection.recv(LARGEST_REQUEST) or 1)


def serve(path: str) -> None:
    """Answers calls, each in a process of its own, until standard input is closed."""
    load()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            with connection:
                if not os.fork():
                    server.close()
                    answer(connection)
                    os._exit(0)


def load() -> None:
    """What the commands of the stories need."""
    import recurlm.cli.main
    import recurlm.generation.text_generator
    import recurlm.interface.model
    import recurlm.plots.training
    import recurlm.training.setup  # noqa: F401


def answer(connection: socket.socket) -> None:
    """Runs the command of one call, and sends its exit code."""
    request, streams, _, _ = socket.recv_fds(connection, LARGEST_REQUEST, STREAMS)
    folder, words = json.loads(request)
    command = os.fork()
    if not command:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        run(words)
    for stream in streams:
        os.close(stream)
    _, status = os.waitpid(command, 0)
    connection.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())


def run(words: list[str]) -> None:
    """Runs the command line and ends this process."""
    from recurlm.cli import process
    from recurlm.cli.main import main

    process.IMPORTED = time.monotonic()  # a time limit counts from here
    code = 1
    sys.argv = ["recurlm", *words]
    sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(STREAMS), "rww", (-1, -1, 1), ("utf-8",) * STREAMS)
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    path, *words = sys.argv[1:]
    sys.exit(call(path, words)) if words else serve(path)
