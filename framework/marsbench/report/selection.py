"""Which runs a page is about."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from marsbench.config import Criteria, Experiment, read_experiment_file
from marsbench.errors import ResultsError
from marsbench.protocols.apply import find_protocol
from marsbench.protocols.protocol import Definition
from marsbench.results.leaderboard import Board, folders_of, leaderboards, ranked
from marsbench.results.row import Row
from marsbench.results.schema import Run, Standing
from marsbench.results.store import RunFolder, find_run

MOST_IN_DETAIL = 5
MOST_ROWS = 200
"""Rows of a leaderboard on the page, the best ones."""
_FIELDS = Standing.model_fields.keys()


@dataclass(frozen=True)
class Selection:
    """The runs and leaderboards of one page."""

    title: str
    root: Path
    """Results folder."""
    boards: tuple[Board, ...]
    standings: dict[str, Standing]
    """Record of each shown row's first run by its id, with the mean metrics of all seeds."""
    in_detail: tuple[RunFolder, ...]
    """Runs with a section of their own."""
    focus: frozenset[str]
    """Ids of the requested runs; empty if all runs were requested."""
    notes: tuple[str, ...]
    """One line for everything that is left out, with the reason."""
    folders: tuple[Path, ...] = ()
    """Drop-in folders of plugins that the experiment file names."""

    def is_about(self, row: Row) -> bool:
        """Whether the row was requested."""
        return not self.focus or self.is_named(row)

    def is_named(self, row: Row) -> bool:
        """Whether the row was requested by its name or an experiment file."""
        return not self.focus.isdisjoint(row.run_ids)


def select_run(root: Path, name: str, criteria: Criteria | None) -> Selection:
    """One run in detail and its leaderboard.

    Raises:
        ResultsError: there is no such run, it cannot be read, or its folder was moved.
    """
    folder = find_run(root, name)
    run = folder.read_run()
    home = _home(folder.path.resolve(), run)
    (board,), left_out = _boards_of(home, run, criteria)
    standings = _standings(home, [board]) | {run.run_id: Standing(**{k: getattr(run, k) for k in _FIELDS})}
    return Selection(
        run.title, home, (board,), standings, (folder,), frozenset({run.run_id}), tuple(left_out)
    )


def _boards_of(root: Path, run: Run, criteria: Criteria | None) -> tuple[list[Board], list[str]]:
    """The run's leaderboard; with runs of older code if the run is one of those."""
    for older in (False, True):
        boards, left_out = leaderboards(
            root, run.corpus.name, run.protocol.name, criteria or run.criteria, older=older
        )
        mine = [board for board in boards if board.hash == run.protocol.hash]
        if any(run.run_id in row.run_ids for board in mine for row in board.rows):
            return mine, left_out
    raise ResultsError(f"run {run.run_id} is no longer in {root}")


def _home(path: Path, run: Run) -> Path:
    """The results folder that a run's folder is in."""
    if path.parts[-3:] != (run.corpus.name, run.protocol.name, run.run_id):
        belongs = f"{run.corpus.name}/{run.protocol.name}/{run.run_id}"
        raise ResultsError(
            f"{path} was moved; move it back to RESULTS/{belongs}, so that its leaderboard is found"
        )
    return path.parents[2]


def select_experiment(path: Path, root: Path | None, criteria: Criteria | None) -> Selection:
    """The finished runs of an experiment file's pipelines.

    Raises:
        ConfigError: the file is no valid experiment file.
        ResultsError: none of its runs is finished.
    """
    asked = Experiment.parse(read_experiment_file(path), str(path))
    home = root or asked.results
    boards, left_out = leaderboards(home, criteria=criteria or asked.criteria)
    definitions = [find_protocol(word) for word in asked.protocol]
    ours = {
        row.run_id
        for board in boards
        if _is_under(home, board, definitions)
        for row in board.rows
        if _belongs(home, row, asked)
    }
    if not ours:
        raise ResultsError(f"no finished run of {path} in {home.absolute()}; run it with: bench run {path}")
    asked_for = [tuple(row for row in board.rows if row.run_id in ours) for board in boards]
    left_out += [
        f"{board.corpus}, {board.protocol}: {len(rows)} of {len(board.rows)} runs; their ranks are among all"
        for board, rows in zip(boards, asked_for, strict=True)
        if 0 < len(rows) < len(board.rows)
    ]
    boards = [replace(board, rows=rows) for board, rows in zip(boards, asked_for, strict=True) if rows]
    boards = _in_order(boards)
    best, notes = _best(home, (row for board in boards for row in board.rows))
    return Selection(
        path.stem, home, tuple(boards), _standings(home, boards), best, frozenset(ours),
        (*left_out, *notes), tuple(asked.plugins),
    )  # fmt: skip


def select_all(root: Path, criteria: Criteria | None) -> Selection:
    """All leaderboards, with the best run of each in detail; raises ResultsError if there is no run."""
    boards, left_out = leaderboards(root, criteria=criteria)
    if not boards:
        raise ResultsError(f"no readable run in {root.absolute()}: {left_out[-1]}")
    boards = _in_order(boards)
    best, notes = _best(root, (board.rows[0] for board in boards))
    title = "All boards" if len(boards) > 1 else f"{boards[0].corpus}, {boards[0].protocol}"
    return Selection(
        title, root, tuple(boards), _standings(root, boards), best, frozenset(),
        (*left_out, *notes),
    )  # fmt: skip


def _in_order(boards: Iterable[Board]) -> list[Board]:
    """The corpus with most tested clips first, and of each corpus the strictest protocol."""
    sizes: dict[str, float] = {}
    for board in boards:
        tested = (row.scores.get("n_clips", 0.0) for row in board.rows)
        sizes[board.corpus] = max(*tested, sizes.get(board.corpus, 0.0))
    return sorted(boards, key=lambda one: (-sizes[one.corpus], one.corpus, -one.rows[0].board.strictness))


def _best(root: Path, rows: Iterable[Row]) -> tuple[tuple[RunFolder, ...], list[str]]:
    """The first seed's runs of the best rows, at most `MOST_IN_DETAIL`, and a line if there are more."""
    scored = [row for row in rows if row.ranked_score is not None]
    top = {row.run_id for row in ranked(scored)[:MOST_IN_DETAIL]}
    best = tuple(folders_of(root, row)[0] for row in scored if row.run_id in top)
    more = f"the {MOST_IN_DETAIL} best of {len(scored)} runs are shown in detail"
    return best, [f"{more}; bench report RUN shows another"] if len(best) < len(scored) else []


def _is_under(root: Path, board: Board, asked: Sequence[Definition]) -> bool:
    """Whether a board's protocol was asked for, by its name or a word that stands for several."""
    if board.protocol in {definition.name for definition in asked}:
        return True
    words = [definition.members for definition in asked if definition.members]
    run = folders_of(root, board.rows[0])[0].read_standing() if words else None
    corpora = {name for fold in run.protocol.corpora for name in (*fold.train, *fold.test)} if run else set()
    return any(board.protocol in members(sorted(corpora)) for members in words)


def _belongs(root: Path, row: Row, asked: Experiment) -> bool:
    names = {row.features, row.model}
    settings = {key: value for key, value in asked.set.items() if key.partition(".")[0] in names}
    return (
        row.features in asked.features
        and row.model in asked.model
        and not set(range(asked.seed, asked.seed + asked.repeats)).isdisjoint(row.seeds)
        and row.settings == settings
        and (row.normalise, row.versions) == (asked.normalise, asked.clip_versions)
        # An untuned run is the baseline of every tuned one.
        and (row.tuning is None or row.tuning.asked in {asked.tuning(True), asked.tuning(False)})
        and (found := folders_of(root, row)[0].read_standing()) is not None
        and found.corpus.is_meant_by(*asked.data)
    )


def _standings(root: Path, boards: Sequence[Board]) -> dict[str, Standing]:
    """Record of each shown row's first run by its id, with the row's metrics, where its file is there."""
    rows = (row for board in boards for row in board.rows[:MOST_ROWS])
    runs = ((row, folders_of(root, row)[0].read_standing()) for row in rows)
    return {row.run_id: run.model_copy(update={"metrics": row.metrics}) for row, run in runs if run}
