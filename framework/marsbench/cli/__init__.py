"""The `bench` command: a command reads options, calls the library, prints."""

import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""


def start() -> None:
    """Entry point of the console script; Ctrl-C while the commands are imported is one line, too."""
    try:
        from marsbench.cli.main import main
    except KeyboardInterrupt:
        sys.stderr.write("bench: Interrupted.\n")
        sys.exit(INTERRUPTED)
    main()
