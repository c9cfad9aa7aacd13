"""The application: the server's own, with the page and its routes on top, behind the cookie."""

import asyncio
import contextlib
import logging
import secrets
import socket
from pathlib import Path

from fastapi import FastAPI

from recurlm.serving.app import create_app
from recurlm.serving.options import ServerOptions
from recurlm.serving.server import Server, address_of
from recurlm.studio.access import CookieMiddleware
from recurlm.studio.folder import StudioFolder
from recurlm.studio.opened import OpenedModels
from recurlm.studio.opening import opened_in_browser
from recurlm.studio.routes import Studio, router

LARGEST_TEXT = 64 << 20
"""Bytes of a request: a text that is dropped on the page."""


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


def create_studio(directory: Path, token: str, device: str) -> FastAPI:
    """The application for the runs of a folder; its caller closes `app.state.studio`."""
    options = ServerOptions(key=token, body_bytes=LARGEST_TEXT, closing_seconds=1)
    folder = StudioFolder(directory)
    models = OpenedModels(folder, device)
    app = create_app(models, options, grows=True)
    app.state.studio = Studio(folder, models)
    app.include_router(router)
    app.add_middleware(CookieMiddleware, token=token)
    return app


def first_address(listening: socket.socket, token: str) -> str:
    """The address that gives a browser its cookie."""
    return f"{address_of(listening)}/?token={token}"


def serve_studio(app: FastAPI, listening: socket.socket, address: str, *, opens: bool) -> None:
    """Serves the page until a signal comes, then stops a training that runs, after a checkpoint."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # streams that end with the server are no news
    try:
        with opened_in_browser(address) if opens else contextlib.nullcontext():
            asyncio.run(Server(app, app.state.context.options).serve([listening]))
    finally:
        app.state.studio.close()
