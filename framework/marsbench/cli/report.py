"""`bench report`."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.atomic_files import write_text
from marsbench.cli.options import DEFAULT_RESULTS, CriteriaOption, Plugins, folder
from marsbench.cli.output import tell_left_out
from marsbench.config import parse_criteria
from marsbench.plugin.registry import drop_in_folders


def report(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|EXPERIMENT.toml]",
            help="Run id, its beginning, or the run's folder; or an experiment file, to show its runs. "
            "[default: all leaderboards, and the best run of each]",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HTML file to write; an existing file is replaced.")
    ] = Path("report.html"),
    results: Annotated[
        Path | None, typer.Option(help="Folder of runs. [default: results]", parser=folder, metavar="DIR")
    ] = None,
    audio: Annotated[
        bool, typer.Option("--audio", help="Include the sound of the misclassified clips, about 30 kB each.")
    ] = False,
    plugins: Plugins = None,
    criteria: CriteriaOption = None,
) -> None:
    """Write runs as one self-contained HTML page.

    Examples:
        bench report
        bench report RUN --audio -o run.html
        bench report experiments/quick.toml
    """
    from marsbench.report.terminal.console import TerminalProgress, print_path

    asked = parse_criteria(criteria) if criteria else None
    with TerminalProgress() as progress:
        with progress.track("Reading runs", 1):  # the imports take seconds
            from marsbench.report import selection as selections
            from marsbench.report.page import build_page

            if subject is None:
                chosen = selections.select_all(results or DEFAULT_RESULTS, asked)
            elif subject.endswith(".toml"):
                chosen = selections.select_experiment(Path(subject), results, asked)
            else:
                chosen = selections.select_run(results or DEFAULT_RESULTS, subject, asked)
        folders = drop_in_folders([*(plugins or ()), *chosen.folders])
        page = build_page(chosen, asked, audio=audio, folders=folders, progress=progress)
    write_text(output, page)
    tell_left_out(chosen.notes)
    print_path("Report", output)
