"""`bench serve`."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.app import require_free
from marsbench.cli.options import Plugins, registry_of
from marsbench.cli.output import print_text, warn
from marsbench.environment import import_extra


def serve(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by bench export.")],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen at; 0.0.0.0: all of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen at.")] = 8000,
    plugins: Plugins = None,
) -> None:
    """Answer requests over HTTP with the emotion of a recording.

    POST /predict takes an audio file as its body, GET /health names the model, /docs is an OpenAPI page.
    There is no password and no encryption: put a proxy before it where others can reach it. Ctrl-C stops it.

    Examples:
        bench serve bundle
        bench serve bundle --host 0.0.0.0 --port 8080
    """
    from marsbench.deployment.bundle_files import read_bundle, read_bundle_record
    from marsbench.report.terminal.console import TerminalProgress

    uvicorn = import_extra("uvicorn", "serve")
    for module in ("fastapi", "swagger_ui_bundle"):
        import_extra(module, "serve")
    read_bundle_record(bundle)  # a missing or damaged one is told before anything is loaded
    require_free(host, port)
    with TerminalProgress() as progress:
        loaded = read_bundle(bundle, registry_of(plugins), progress)
    from marsbench.app.server import make_server
    from marsbench.deployment.bundle_record import worth_phrase

    local = _is_loopback(host)
    print_text(f"{loaded.record.title} at http://{host}:{port}: POST /predict, GET /health, page /docs")
    print_text(worth_phrase(loaded.record.origin))
    if not local:
        warn(f"{host} can be reached from other machines, and there is no password")
    server = make_server(loaded, (host, "localhost") if local else ("*",))
    uvicorn.run(server, host=host, port=port, log_level="warning", server_header=False)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
