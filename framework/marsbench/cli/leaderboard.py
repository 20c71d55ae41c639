"""`bench leaderboard`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import DEFAULT_RESULTS, CriteriaOption, Json, Results
from marsbench.cli.output import print_csv, print_json, print_text, tell_left_out
from marsbench.config import parse_criteria


def leaderboard(  # noqa: PLR0913, PLR0917 - one argument an option
    data: Annotated[
        list[str] | None,
        typer.Option(help="Only runs on the corpus of this name or path; several for one joined of them."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Only runs under this protocol: name, file or hash.")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    criteria: CriteriaOption = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX tables (booktabs).")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain every sign, column and row of the table.")
    ] = False,
    across: Annotated[
        bool, typer.Option("--across", help="One table of pipelines by corpora, for one protocol.")
    ] = False,
    older: Annotated[
        bool, typer.Option("--all", help="One row per run: every seed, and runs of older code.")
    ] = False,
    top: Annotated[
        int, typer.Option(min=0, help="Rows of each table, the best ones; 0 for all. JSON and CSV have all.")
    ] = 30,
) -> None:
    """Rank finished runs, one table for each corpus and protocol.

    Examples:
        bench leaderboard --explain
        bench leaderboard --data ravdess --protocol speaker5 --top 10
        bench leaderboard --csv > runs.csv
    """
    if as_json + as_csv + as_markdown + as_latex + explain > 1:
        raise typer.BadParameter(
            "--json, --csv, --markdown, --latex and --explain exclude each other; give one of them"
        )
    if across:
        if data is not None or older or as_latex or explain:
            raise typer.BadParameter(
                "--across shows all corpora: leave --data, --all, --latex and --explain out"
            )
        form = "json" * as_json + "csv" * as_csv + "markdown" * as_markdown
        _print_across(results, protocol, criteria, top, form)
        return
    from marsbench.report.columns import data_keys, data_rows
    from marsbench.results.leaderboard import leaderboards

    boards, left_out = leaderboards(results, data, protocol, parse_criteria(criteria), older=older)
    tell_left_out(left_out)
    if as_json:
        print_json(data_rows(boards))
    elif as_csv:
        rows = ([_cell(row.get(key)) for key in data_keys()] for row in data_rows(boards))
        print_csv([data_keys(), *rows])
    elif as_markdown or as_latex:
        from marsbench.report.boards import latex_board, markdown_board

        print_text("\n\n".join((latex_board if as_latex else markdown_board)(board, top) for board in boards))
    else:
        from marsbench.report.terminal.board import TerminalBoard
        from marsbench.report.terminal.console import out

        for board in boards:
            out.print(TerminalBoard(board, top, explain))


def _print_across(
    results: Path, protocol: str | None, criteria: list[str] | None, top: int, form: str
) -> None:
    from marsbench.report import across
    from marsbench.results.across import across_boards

    shown, left_out = across_boards(results, protocol, parse_criteria(criteria))
    tell_left_out(left_out)
    if form == "json":
        print_json(across.across_values(shown))
    elif form == "csv":
        rows = across.across_rows(shown)
        print_csv([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)])
    elif form == "markdown":
        print_text(across.markdown_across(shown, top))
    else:
        from marsbench.report.terminal.console import out

        out.print(across.terminal_across(shown, top))


def _cell(value: object) -> object:
    """Lists and mappings as JSON, which CSV cannot express."""
    return json.dumps(value) if isinstance(value, (dict, tuple)) else value
