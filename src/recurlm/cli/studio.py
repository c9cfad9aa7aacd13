"""`recurlm studio`: a page in the browser for the runs of a folder."""

from pathlib import Path
from typing import Annotated

import typer

from recurlm.cli.choices import Device
from recurlm.cli.console import DeviceOption, message
from recurlm.errors import InputError, UsageError


def studio(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder that holds runs; it need not exist yet.")
    ] = Path("runs"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port at 127.0.0.1; 0 takes a free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address and open no browser.")] = False,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Open a page to train, compare and look into texts.

    The page is served to this machine alone. Prints its address, which holds a secret token. Ctrl-C ends the page; a
    training that it started is stopped after a checkpoint. Needs the extra `serve`.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"studio needs the {error.name} library: pip install 'recurlm[serve]'") from error
    _check_folder(directory)
    from recurlm.devices import keep_freed_memory, resolve_device
    from recurlm.serving.server import open_socket
    from recurlm.studio.app import create_studio, first_address, new_token, serve_studio

    keep_freed_memory()
    device_name = resolve_device(device).type
    token = new_token()
    with open_socket("127.0.0.1", port) as listening:
        address = first_address(listening, token)
        app = create_studio(directory, token, device_name)
        print(address, flush=True)
        message("the page is at this address until Ctrl-C")
        serve_studio(app, listening, address, opens=not no_open)


def _check_folder(directory: Path) -> None:
    """Raises InputError where a folder neither exists nor can be made by the first training."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is a file, not a folder; name the folder that holds your runs")
    if not directory.absolute().parent.is_dir():
        parent = directory.parent
        raise InputError(f"{directory}: there is no folder {parent}; make it, or name another folder for your runs")
