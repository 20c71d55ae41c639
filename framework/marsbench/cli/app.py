"""`bench app`."""

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, Plugins, Results
from marsbench.environment import SAFE_PATH, install_hint
from marsbench.errors import ConfigError

_SCRIPT = Path(__file__).parents[1] / "app" / "page.py"
_ADDRESS = "127.0.0.1"
_MAX_MEGABYTES = 50
"""As `marsbench.app.inference`, which is not imported here: it takes a second."""


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

    Examples:
        bench app bundle
        bench app --port 8600
    """
    from marsbench.deployment.bundle_files import read_bundle_record
    from marsbench.plugin.registry import drop_in_folders, holds_plugins

    if find_spec("streamlit") is None:
        raise ConfigError(f"bench app needs streamlit, which is not installed: {install_hint('app')}")
    if bundle is not None:  # a missing or damaged one is reported here, not in the browser
        read_bundle_record(bundle)
    require_free(_ADDRESS, port)
    # Absolute paths: the server is started in another folder.
    words = [*([str(bundle.absolute())] if bundle else []), "--results", str(results.absolute())]
    for folder in filter(holds_plugins, drop_in_folders(plugins or ())):
        words += ["--plugins", str(folder)]
    raise typer.Exit(_serve([*_server(port), "--", *words], _environment()))


def require_free(address: str, port: int) -> None:
    """Raise ConfigError if a server cannot listen there."""
    try:
        socket.create_server((address, port)).close()
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be used: {os.strerror(error.errno or 0)}; choose another with --port"
        ) from error


def _server(port: int) -> list[str]:
    """Streamlit's command line: served to this machine only, no statistics, no prompts.

    What is said here wins over the user's own ~/.streamlit/config.toml, defaults too.
    """
    settings = {
        "server.address": _ADDRESS,
        "server.port": port,
        "server.enableXsrfProtection": "true",
        "server.enableCORS": "true",  # Streamlit's word for refusing other sites
        "server.enableStaticServing": "false",
        "server.maxUploadSize": _MAX_MEGABYTES,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.runOnSave": "false",
        "browser.serverAddress": _ADDRESS,
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "global.developmentMode": "false",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-P", "-m", "streamlit", "run", str(_SCRIPT), *options]


def _environment() -> dict[str, str]:
    """This process's, whose relative paths become absolute; other names of this machine are refused."""
    from marsbench.atomic_files import home

    given = os.environ.get("PYTHONPATH", "")
    folders = [str(Path(folder).absolute()) for folder in given.split(os.pathsep) if folder]
    return {
        **os.environ,
        **SAFE_PATH,
        "PYTHONPATH": os.pathsep.join(folders),
        "MARSBENCH_HOME": str(home().absolute()),
        # An option that Streamlit has had for a short time only: others would refuse it on the command line.
        "STREAMLIT_SERVER_ALLOWED_HOSTS": f"localhost {_ADDRESS}",
    }


def _serve(command: list[str], environment: dict[str, str]) -> int:
    """Become the server, so that whatever ends `bench app` ends the page; without exec, wait for its end.

    Streamlit reads settings and secrets in the folder that it is started in, which may be a stranger's.
    """
    os.chdir(_SCRIPT.parent)
    if os.name == "posix":
        os.execve(command[0], command, environment)  # noqa: S606 - our own command line
    return subprocess.call(command, env=environment)  # noqa: S603
