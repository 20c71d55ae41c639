"""Members of an ensemble, chosen by predictions inside training parts: `bench ensemble --choose`.

Whoever names members has seen the board, whose scores are of the test clips: what is best together there is
so partly by chance. Here each run's pipeline is fitted on parts of every fold's training clips, and members
are chosen by what it predicts of the rest, as a search does.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product

from marsbench.atomic_files import locked, require_writable
from marsbench.automl.selection import Candidate, Contender, ScreeningResult, best_members
from marsbench.config import Fusion
from marsbench.errors import ConfigError, ResultsError
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.metrics import RANKED_BY
from marsbench.execution.executor import open_executor
from marsbench.progress import Progress, Silent
from marsbench.results.best import newest_board
from marsbench.results.comparison import Member, find_members
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder
from marsbench.results.studies import StudyFolder
from marsbench.runner.ensemble_job import HoldoutPredictions, InnerPredictions, fits_of, fuse_runs
from marsbench.runner.pipeline_job import Units
from marsbench.runner.reload import chosen_by
from marsbench.runner.resources import Resources


def ensemble(
    asked: Fusion, progress: Progress | None = None, *, retry_failed: bool = False
) -> tuple[RunFolder, Run]:
    """Fuse the runs that were named, or with `choose` those that are best together inside the training parts.

    Raises:
        ConfigError: options that do not go together.
        ResultsError: no second run makes an ensemble better than the best run alone.
        BenchError: as `fuse_runs`.
    """
    progress = progress or Silent()
    if not asked.choose:
        if asked.protocol is not None:
            raise ConfigError("--protocol names the board that --choose chooses from; leave it out")
        return fuse_runs(asked, progress, retry_failed=retry_failed)
    if asked.equal:
        raise ConfigError(
            "--choose fits weights to choose by; leave --equal out, or name the members yourself"
        )
    if asked.runs and asked.protocol is not None:
        raise ConfigError("--protocol names the board whose runs are meant; leave it out, or name no RUN")
    require_writable(asked.results)
    if not asked.runs:
        asked = asked.model_copy(
            update={"runs": _runs_of_board(asked, progress), "data": None, "protocol": None}
        )
    candidates = find_members(asked.results, asked.runs)
    board = candidates[0].folder.path.absolute().parent
    folder = StudyFolder(board / "ensemble-choice" / "study")
    if retry_failed:
        folder.clear_failures()
    with locked(folder.path.parent, "another process is choosing members", progress):
        chosen = _chosen(candidates, asked, folder, progress)
    paths = [str(member.folder.path.absolute()) for member in chosen]
    asked = asked.model_copy(update={"runs": paths})
    return fuse_runs(asked, progress, retry_failed=retry_failed, known=[folder])


def _runs_of_board(asked: Fusion, progress: Progress) -> list[str]:
    """Every complete run of a single pipeline on the board of that corpus and protocol."""
    board = newest_board(asked.results, asked.data, asked.protocol, progress.say)
    rows = [row for row in board.rows if row.members is None and row.ranked_score is not None]
    names = [run_id for row in rows for run_id in row.run_ids]
    if len(names) < 2:
        raise ResultsError(
            f"{board.corpus}, {board.protocol} has {len(names)} complete run(s) of single pipelines; an "
            "ensemble needs two: bench run makes more"
        )
    return [str(asked.results / board.corpus / board.protocol / name) for name in names]


def _chosen(
    candidates: Sequence[Member], asked: Fusion, folder: StudyFolder, progress: Progress
) -> list[Member]:
    """The candidates that are best together."""
    threads = max(member.run.threads for member in candidates)
    asked = asked.model_copy(update={"threads": threads})
    others = [path for path in sorted(folder.path.parents[1].glob("*/study")) if path != folder.path]
    fits = fits_of(candidates, asked, progress)[0]
    with Resources.opened(asked, open_executor(asked), progress) as place:
        holdouts = HoldoutPredictions(
            candidates[0].run.protocol.hash, asked.inner_folds, place, folder, tuple(map(StudyFolder, others))
        )
        found = _contenders(candidates, fits, holdouts)
    members = best_members([contender for _, contender in found]) if found else []
    chosen = [member for member, contender in found if any(contender is one for one in members)]
    names = ", ".join(member.run.run_id for member in chosen) or "none"
    progress.say(f"Chosen of {len(candidates)} runs, inside the training parts: {names}")
    if len(chosen) < 2:
        raise ResultsError(
            f"no ensemble: no second run lowers the log loss of {names} by 1 % inside the training parts; "
            "export that run, or name members yourself"
        )
    return chosen


def _contenders(
    candidates: Sequence[Member], fits: Sequence[Units], holdouts: HoldoutPredictions
) -> list[tuple[Member, Contender]]:
    """Candidates with their predictions inside every fold's training part; without those that fail there."""
    place, folds = holdouts.place, range(candidates[0].run.protocol.n_folds)
    found: dict[tuple[int, int], InnerPredictions | Failure] = {}
    total = len(candidates) * len(folds)
    place.progress.say(
        f"To choose members: {len(candidates)} runs on {len(folds)} folds, {holdouts.n_folds * total} fits "
        "inside the training parts, less those that are there already"
    )
    with place.progress.track("Candidates: runs, folds", total) as advance:

        def predict(number: int, fold: int) -> None:
            configuration = chosen_by(candidates[number].run, fold)
            found[number, fold] = holdouts.of(fits[number], configuration, fold, place.submit)
            advance(1)

        works = [partial(predict, *pair) for pair in product(range(len(candidates)), folds)]
        place.scheduler.run([partial(place.scheduler.side_by_side, works)])
    contenders = []
    for number, member in enumerate(candidates):
        inner = [found[number, fold] for fold in folds]
        if failed := next((one for one in inner if isinstance(one, Failure)), None):
            place.progress.say(f"{member.run.run_id} is left out, a fit failed: {failed.message}")
        else:
            told = tuple(one for one in inner if not isinstance(one, Failure))
            contenders.append((member, Contender(_candidate(member, fits[number]), told, RANKED_BY)))
    return contenders


def _candidate(member: Member, units: Units) -> Candidate:
    names = ScreeningResult(
        features=member.run.features.name, model=member.run.model.name, options=units.pipeline.options
    )
    return Candidate(units.pipeline, units, names)
