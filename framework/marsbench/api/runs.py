"""Experiments and what came of them."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from marsbench.api.result import Result
from marsbench.atomic_files import write_text
from marsbench.automl import search as automl
from marsbench.config import Experiment, Fusion, Search, parse_experiment, parse_fusion, parse_search
from marsbench.errors import ConfigError, unknown
from marsbench.plugin.registry import drop_in_folders
from marsbench.progress import progress_for
from marsbench.report.columns import data_keys, data_rows
from marsbench.report.page import Options, build_page
from marsbench.report.selection import select_all, select_run
from marsbench.results import comparison
from marsbench.results.leaderboard import leaderboards
from marsbench.results.store import RunFolder
from marsbench.runner import runner
from marsbench.runner.ensemble_job import fuse_runs

Words = str | Sequence[str]


def run(  # noqa: PLR0913 - one argument an option
    *,
    features: Words,
    model: Words,
    data: str | Path = "demo",
    protocol: Words = "stratified5",
    trials: int | None = None,
    results: str | Path = "results",
    retry_failed: bool = False,
    verbose: bool = False,
    **options: Any,
) -> list[Result]:
    """Run every pair of features and model, as `bench run` does; what is finished already is reused.

    Args:
        features: name of a feature extractor, or several.
        model: name of a model, or several.
        data: a dataset's name, or a path to audio.
        protocol: how the corpus is split: a name that `bench protocols list` shows, a file, or several.
        trials: configurations that a tuner tries for each fold; 0 for the untuned one alone; None for 3, or
            what `time_budget` allows.
        results: folder of runs.
        retry_failed: also try units again that failed earlier.
        verbose: print what is under way.
        **options: the other options of `bench run`: seed, repeats, set (`{"svm.C": 1.0}`), criteria
            (`{"accuracy": 0.85}`), plugins, bad_audio, tuner, time_budget, inner_folds, objective, workers,
            cluster, threads, unit_timeout, unit_memory.

    Returns:
        The runs; behind each untuned one the tuned one where there is something to tune. A fold that fails is
        no error: its run has `run.status` "failed" and the reasons in `run.failures`.

    Raises:
        BenchError: an option or name that does not exist, a value or pair that does not fit, unusable audio.
    """
    _refuse_unknown(options, Experiment.model_fields, "marsbench.run")
    values = options | {"features": features, "model": model, "data": str(data), "protocol": protocol}
    values |= {"trials": trials, "results": results}
    given = {name: value for name, value in values.items() if value is not None}
    asked = parse_experiment(given, "marsbench.run")
    finished = runner.run(asked, progress_for(verbose), retry_failed=retry_failed)
    return [Result(folder.path, record) for folder, record in finished]


class Found(NamedTuple):
    """What a search came to."""

    winner: Result
    """What was best inside the training parts; `bench export` makes a bundle of it."""
    results: list[Result]
    """All runs that were made: finalists, tuned ones, the ensemble."""


def search(
    *,
    data: str | Path = "demo",
    time_budget: str | float = "30m",
    protocol: str = "stratified5",
    results: str | Path = "results",
    verbose: bool = False,
    **options: Any,
) -> Found:
    """Choose by itself which pipelines are worth the time, as `bench search` does, and make them runs.

    Args:
        data: a dataset's name, or a path to audio.
        time_budget: all that may be taken, in seconds or such as "5m"; some of it is kept for an export.
        protocol: how the corpus is split: a name that `bench protocols list` shows, or a file.
        results: folder of runs.
        verbose: print what is under way.
        **options: the other options of `bench search`: features and model (None for all that can be used),
            seed, set, criteria, plugins, bad_audio, objective, workers, cluster, threads, unit_timeout,
            unit_memory.

    Raises:
        BenchError: an option or name that does not exist, unusable audio, nothing that could be fitted.
    """
    _refuse_unknown(options, Search.model_fields, "marsbench.search")
    values = options | {"data": str(data), "time_budget": time_budget, "protocol": protocol}
    given = {name: value for name, value in (values | {"results": results}).items() if value is not None}
    found = automl.search(parse_search(given, "marsbench.search"), progress_for(verbose))
    made = {record.run_id: Result(folder.path, record) for folder, record in found.runs}
    return Found(made[found.winner[1].run_id], list(made.values()))


def ensemble(
    runs: Iterable[Result | str | Path],
    *,
    equal: bool = False,
    results: str | Path = "results",
    retry_failed: bool = False,
    verbose: bool = False,
    **options: Any,
) -> Result:
    """Fuse finished runs of one leaderboard into one more, by a pool of their probabilities.

    Args:
        runs: results, run ids or folders of two runs or more.
        equal: their plain mean; else a logarithmic pool with weights fitted inside each fold's training
            clips.
        results: folder of runs, in which the ensemble is written.
        retry_failed: also try inner fits again that failed earlier.
        verbose: print what is under way.
        **options: the other options of `bench ensemble`: inner_folds, data, criteria, plugins, workers,
            cluster, unit_timeout, unit_memory.

    Raises:
        BenchError: as `bench ensemble`, in one line.
    """
    known = Fusion.model_fields.keys() - {"threads"}  # as many as its members'
    _refuse_unknown(options, known, "marsbench.ensemble")
    named = [str(run.folder if isinstance(run, Result) else run) for run in runs]
    asked = parse_fusion(options | {"runs": named, "equal": equal, "results": results}, "marsbench.ensemble")
    folder, record = fuse_runs(asked, progress_for(verbose), retry_failed=retry_failed)
    return Result(folder.path, record)


def _refuse_unknown(options: Iterable[str], known: Iterable[str], function: str) -> None:
    """Raise ConfigError for an option that there is not."""
    for name in options:
        if name not in known:
            raise ConfigError(f"{function}: {unknown('option', name, known)}")


def leaderboard(
    results: str | Path = "results",
    data: str | None = None,
    protocol: str | None = None,
    *,
    older: bool = False,
) -> pd.DataFrame:
    """Finished runs, ranked within each protocol of each corpus, never across them.

    Args:
        results: folder of runs.
        data: only runs on the corpus of this name.
        protocol: only runs under this protocol.
        older: each run by itself: every seed, and what newer code has replaced.

    Returns:
        One row a configuration, with the columns of `bench leaderboard --csv`. `gap` is macro F1 with
        speakers on both sides of a split less that without, where both are there. A run that cannot be read
        is warned of.

    Raises:
        BenchError: no runs there, or none of that corpus or protocol.
    """
    boards, left_out = leaderboards(Path(results), data, protocol, older=older)
    for line in left_out:
        warnings.warn(line, stacklevel=2)
    return pd.DataFrame(data_rows(boards), columns=data_keys())


def compare(first: Result, second: Result) -> comparison.Comparison:
    """Two runs of one protocol on one corpus, clip by clip.

    Its `difference` is that of macro F1, with interval and p; `disagreements` a table of the clips that one
    alone recognises.

    Raises:
        BenchError: one is not complete, or they were not tested alike.
    """
    return comparison.compare(RunFolder(first.folder), RunFolder(second.folder))


def write_report(
    path: str | Path = "report.html",
    result: Result | None = None,
    *,
    results: str | Path = "results",
    audio: bool = False,
    plugins: Iterable[str | Path] = (),
) -> None:
    """Write one HTML page that needs nothing but itself.

    Args:
        path: file to write.
        result: the run that it is about; None for all boards of `results` and the best run of each.
        results: folder of runs.
        audio: carry the sound of the worst confused clips.
        plugins: folders of plugins beside `./plugins`.

    Raises:
        BenchError: no run there, or the file cannot be written.
    """
    chosen = (
        select_all(Path(results), None)
        if result is None
        else select_run(Path(results), str(result.folder), None)
    )
    folders = drop_in_folders([*map(Path, plugins), *chosen.folders])
    write_text(Path(path), build_page(chosen, Options(audio=audio, folders=folders)))
