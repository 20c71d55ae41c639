"""`bench app`."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from signal import SIGINT
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Plugins, Results
from marsbench.errors import ConfigError

_SCRIPT = Path(__file__).parents[1] / "app" / "page.py"
_MAX_MEGABYTES = 50
"""As `marsbench.app.inference`, which is not imported here: it takes a second."""
_SECONDS_TO_STOP = 5


def app(
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="[BUNDLE]", help="Folder written by bench export. [default: a demo model]"),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page on this machine.")] = 8501,
    plugins: Plugins = None,
) -> None:
    """Serve a web page that predicts the emotion of a voice.

    Of an uploaded file, or of what the browser records. The page can be reached from this machine only, and
    needs no network. Ctrl-C stops it.
    """
    from marsbench.deployment.bundle_files import read_bundle_record

    if find_spec("streamlit") is None:
        raise ConfigError("bench app needs streamlit, which is not installed: pip install 'marsbench[app]'")
    if bundle is not None:  # a missing or damaged one is reported here, not in the browser
        read_bundle_record(bundle)
    _require_free(port)
    words = [*([str(bundle)] if bundle else []), "--results", str(results)]
    words += [word for folder in plugins or () for word in ("--plugins", str(folder))]
    raise typer.Exit(_serve([*_server(port), "--", *words]))


def _require_free(port: int) -> None:
    try:
        socket.create_server(("localhost", port)).close()
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be used: {os.strerror(error.errno or 0)}; choose another with --port"
        ) from error


def _server(port: int) -> list[str]:
    """Streamlit's command line: served to this machine only, no statistics, no prompts."""
    settings = {
        "server.address": "localhost",
        "server.port": port,
        "server.maxUploadSize": _MAX_MEGABYTES,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "streamlit", "run", str(_SCRIPT), *options]


def _serve(command: list[str]) -> int:
    """Run the server until it ends or Ctrl-C is pressed; returns the exit code."""
    with subprocess.Popen(command) as server:  # noqa: S603 - our own command line
        try:
            return server.wait()
        except KeyboardInterrupt:
            # Ctrl-C in a terminal reaches both processes; a signal to this one alone must be passed on.
            with suppress(subprocess.TimeoutExpired):
                server.wait(1)
            if server.poll() is None:
                server.send_signal(SIGINT)
            try:
                server.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                server.kill()
            return 0
