"""The `bench` command: a command reads options, calls the library, prints."""

import signal
import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""


def start() -> None:
    """Entry point of the console script; Ctrl-C while the commands are imported is one line, too."""
    code: str | int | None = 0
    try:
        from marsbench.cli.main import main

        main()
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:
        sys.stderr.write("bench: Interrupted.\n")
        code = INTERRUPTED
    if code == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends; a further press would kill it on its way
    sys.exit(code)
