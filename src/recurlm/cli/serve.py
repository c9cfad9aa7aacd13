"""`recurlm serve`: runs over HTTP, for OpenAI's clients and for this program's own."""

from pathlib import Path
from typing import Annotated

import typer

from recurlm.cli.choices import Device
from recurlm.cli.console import MOST_AT_ONCE, DeviceOption
from recurlm.errors import UsageError


def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run folders, as `train` writes them.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; any other than this machine's own needs a key.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen at; 0 takes a free one.")
    ] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="RECURLM_API_KEY",
            help="What requests must send as `Authorization: Bearer KEY`; the variable hides it from other users.",
        ),
    ] = None,
    slots: Annotated[
        int, typer.Option("--slots", min=1, max=MOST_AT_ONCE, help="Texts that advance at once, for each run.")
    ] = 64,
    queue: Annotated[
        int,
        typer.Option(
            "--queue", min=0, max=MOST_AT_ONCE, help="Texts that wait for a slot before requests are refused."
        ),
    ] = 256,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="Name for requests, one for each RUN. [default: the folders' names]"),
    ] = None,
    device: DeviceOption = Device.AUTO,
    sessions: Annotated[
        Path | None,
        typer.Option(
            "--sessions",
            metavar="FILE",
            help="Keep sessions in this file; servers may share it. [default: in memory, lost with the server]",
        ),
    ] = None,
    session_limit: Annotated[
        int, typer.Option("--session-limit", min=1, max=MOST_AT_ONCE, help="Sessions that there may be.")
    ] = 100_000,
    session_idle: Annotated[
        str, typer.Option("--session-idle", help="Time without a request after which a session is removed.")
    ] = "168h",
    state_secret: Annotated[
        str | None,
        typer.Option(
            "--state-secret",
            envvar="RECURLM_STATE_SECRET",
            help="Signs states that clients hold; the same for all servers that take them. "
            "[default: that of the file of sessions]",
        ),
    ] = None,
    log_texts: Annotated[bool, typer.Option("--log-texts", help="Log the texts of requests too.")] = False,
) -> None:
    """Serve runs over HTTP: texts, scores and sessions.

    Works with OpenAI's client: POST /v1/completions. Logs one JSON object a line on stderr. Ctrl-C lets running
    requests finish. Needs the extra `serve`.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"serve needs the {error.name} library: pip install 'recurlm[serve]'") from error
    from recurlm.devices import keep_freed_memory, resolve_device
    from recurlm.serving.models import serve_runs
    from recurlm.serving.options import ServerOptions
    from recurlm.serving.server import check_address, open_socket
    from recurlm.serving.server import serve as serve_forever
    from recurlm.serving.sessions.store import Limits
    from recurlm.training.request import parse_duration

    check_address(host, api_key)
    keep_freed_memory()
    device_name = resolve_device(device).type
    limits = Limits(session_limit, parse_duration(session_idle, "--session-idle"))
    options = ServerOptions(
        key=api_key,
        queue=queue,
        log_texts=log_texts,
        sessions=sessions,
        session_limits=limits,
        state_secret=state_secret,
    )
    with open_socket(host, port) as listening:
        models = serve_runs(runs, name or (), slots=slots, queue=queue, device=device_name)
        raise typer.Exit(serve_forever(models, options, listening))
