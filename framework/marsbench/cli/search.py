"""`bench search`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import (
    DEFAULT_RESULTS,
    BadAudio,
    Cluster,
    CriteriaOption,
    ObjectiveOption,
    Plugins,
    Results,
    Seed,
    Settings,
    Threads,
    UnitMemory,
    UnitTimeout,
    Workers,
    folder,
)


def search(  # noqa: PLR0913, PLR0917 - one argument an option
    data: Annotated[
        str | None, typer.Option(help="Dataset, or path to a folder or table of audio. [default: demo]")
    ] = None,
    time_budget: Annotated[
        str, typer.Option(metavar="TIME", help="All that may be taken, export included, such as 5m or 1h.")
    ] = "30m",
    protocol: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="How the corpus is split. [default: stratified5]"),
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option(help="Only these feature extractors. [default: all that can be used]")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Only these models. [default: all that can be used]")
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", parser=folder, help="Bundle of the winner.")
    ] = Path("bundle"),
    seed: Seed = None,
    results: Results = DEFAULT_RESULTS,
    plugins: Plugins = None,
    settings: Settings = None,
    criteria: CriteriaOption = None,
    bad_audio: BadAudio = None,
    objective: ObjectiveOption = None,
    workers: Workers = None,
    cluster: Cluster = None,
    threads: Threads = None,
    unit_timeout: UnitTimeout = None,
    unit_memory: UnitMemory = None,
) -> None:
    """From a corpus to an exported winner: choose by itself which pipelines are worth the time.

    Every pair of features and model is looked at on clips inside the training parts; the best are run on all
    folds, tuned, and fused into an ensemble. What scores best inside the training parts is the winner, fitted
    on all clips and written as a bundle. What an earlier, even interrupted, call finished is reused.
    """
    start = time.monotonic()
    from marsbench.automl.search import search as search_through
    from marsbench.cli.printing import print_runs
    from marsbench.config import criteria_table, parse_search, settings_table
    from marsbench.deployment.export import Target, source_of_run
    from marsbench.plugin.registry import discover, drop_in_folders
    from marsbench.report.terminal.console import TerminalProgress, out, print_path
    from marsbench.report.terminal.tuning import search_summary

    options = {
        "data": data,
        "time-budget": time_budget,
        "protocol": protocol,
        "features": features,
        "model": model,
        "seed": seed,
        "results": results,
        "plugins": plugins,
        "set": settings_table(settings),
        "criteria": criteria_table(criteria),
        "bad-audio": bad_audio,
        "objective": objective,
        "workers": workers,
        "cluster": cluster,
        "threads": threads,
        "unit-timeout": unit_timeout,
        "unit-memory": unit_memory,
    }
    given = {name: value for name, value in options.items() if value is not None}
    asked = parse_search(given, "bench search")
    with TerminalProgress() as progress:
        found = search_through(asked, progress)
        target = Target()
        registry = discover(drop_in_folders(asked.plugins))
        bundle, samples = source_of_run(found.winner[0], None, None, target, registry, progress)
        target.write(bundle, samples, output)
    out.print(search_summary(found.record))
    print_runs([found.winner], asked.results)
    out.print(f"\nThe winner is {found.winner[1].run_id}, by hold-outs inside the training parts.")
    print_path("Its bundle", output)
    out.print(f"This took {time.monotonic() - start:.0f} s; {asked.time_budget:.0f} s were given.")
