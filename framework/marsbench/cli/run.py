"""`bench run`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from marsbench.cli.options import (
    BadAudio,
    Cluster,
    CriteriaOption,
    ObjectiveOption,
    Plugins,
    Seed,
    Settings,
    Threads,
    UnitMemory,
    UnitTimeout,
    Workers,
    folder,
)


def run(  # noqa: PLR0913, PLR0917 - one argument an option
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT.toml",
            help="TOML file whose keys are these options' names; options win over it.",
        ),
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option(help="Feature extractor; repeat it or separate several by commas.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model; repeat it or separate several by commas.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Dataset, or path to a folder or table of audio. [default: demo]")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="How the corpus is split: a name of `bench protocols list`, or a .toml or .json file; "
            "several by commas. [default: stratified5]",
        ),
    ] = None,
    seed: Seed = None,
    repeats: Annotated[
        int | None, typer.Option(help="Runs of each pipeline on the same folds, one seed each. [default: 1]")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of runs. [default: results]", parser=folder, metavar="DIR")
    ] = None,
    plugins: Plugins = None,
    settings: Settings = None,
    criteria: CriteriaOption = None,
    bad_audio: BadAudio = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Configurations that a tuner tries for each fold; 0 for the untuned one alone. "
            "[default: 3, or what --time-budget allows]"
        ),
    ] = None,
    tuner: Annotated[str | None, typer.Option(help="optuna or keras-tuner. [default: optuna]")] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="All that may be taken, such as 30m; trials are cut, never folds."),
    ] = None,
    inner_folds: Annotated[
        int | None,
        typer.Option(
            help="Splits of each fold's training clips to tune on. [default: 3; for networks 1, a hold-out]"
        ),
    ] = None,
    objective: ObjectiveOption = None,
    workers: Workers = None,
    cluster: Cluster = None,
    threads: Threads = None,
    unit_timeout: UnitTimeout = None,
    unit_memory: UnitMemory = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try units again that failed earlier.")
    ] = False,
) -> None:
    """Run every pair of features and model, grade it, and show the leaderboard.

    What an earlier, even interrupted, call finished is reused.
    """
    from marsbench.config import criteria_table, settings_table

    options = {
        "features": features,
        "model": model,
        "data": data,
        "protocol": protocol,
        "seed": seed,
        "repeats": repeats,
        "results": results,
        "plugins": plugins,
        "set": settings_table(settings),
        "criteria": criteria_table(criteria),
        "bad-audio": bad_audio,
        "trials": trials,
        "tuner": tuner,
        "time-budget": time_budget,
        "inner-folds": inner_folds,
        "objective": objective,
        "workers": workers,
        "cluster": cluster,
        "threads": threads,
        "unit-timeout": unit_timeout,
        "unit-memory": unit_memory,
    }
    _run(experiment, {name: value for name, value in options.items() if value is not None}, retry_failed)


def _run(path: Path | None, options: dict[str, Any], retry_failed: bool) -> None:
    from marsbench import config as experiments
    from marsbench.cli.printing import print_report
    from marsbench.report.terminal.console import TerminalProgress
    from marsbench.runner.runner import run as run_experiment

    values = experiments.read_experiment_file(path) if path else {}
    merged = _over(values, options)
    asked = experiments.parse_experiment(merged, str(path) if path else "bench run")
    with TerminalProgress() as progress:
        runs = run_experiment(asked, progress, retry_failed=retry_failed)
    print_report(runs, asked.results)


def _over(values: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Options over a file's keys; tables are merged key by key."""
    merged = values | options
    for table in ("set", "criteria"):
        if isinstance(values.get(table), dict) and table in options:
            merged[table] = values[table] | options[table]
    return merged
