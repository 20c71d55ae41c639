"""Leaderboards: runs ranked by `RANKED_BY`, only ever among runs of one protocol on one corpus."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from marsbench.atomic_files import home, read_checksummed, write_checksummed
from marsbench.config import Criteria, Places, each_place, places_phrase
from marsbench.environment import no_search_for_cycles
from marsbench.errors import DamagedError, ResultsError, unknown
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.hashing import digest
from marsbench.options import is_protocol_path
from marsbench.results.row import Row, merged, row_of, with_missing_metrics
from marsbench.results.schema import Standing
from marsbench.results.store import RunFolder, find_runs, run_folders
from marsbench.versions import versions_of

if TYPE_CHECKING:  # NumPy takes a tenth of a second, which a kept answer does not need
    from marsbench.evaluation.predictions import Decisions

_Group = tuple[str, str, str]
"""Corpus, protocol, protocol hash."""
MOST_COMPARED = 40
"""Rows, the best ones, that are compared with each other."""
_LEAST_DIGITS = 4
"""Least number of digits of a protocol's hash that name it."""
_MOST_CANDIDATES = 150
"""Rows that the correction of the best one's score takes into account."""
_USUAL = ("stratified5", "utterance5", "speaker5")
"""The default protocol of each strictness."""


class Unconfirmed(NamedTuple):
    """The largest difference that other clips would not reverse, but that the folds cannot confirm."""

    ranks: list[int | None]
    """Ranks of the two rows."""
    difference: float
    """In the ranking metric."""
    shown_by_folds: float
    """From which difference on the folds would have confirmed it."""
    n_folds: int
    n_pairs: int
    """How many pairs of rows are like this one."""


@dataclass(frozen=True)
class Board:
    """The runs of one protocol on one corpus, best first, failed runs last."""

    corpus: str
    protocol: str
    hash: str
    synthetic: bool
    criteria: Criteria
    rows: tuple[Row, ...]
    n_older: int
    """Runs that are not shown because the same pipeline was run later with newer code."""
    n_compared: int
    """How many of the best rows were tested against each other: those that have `letters`."""
    unconfirmed: Unconfirmed | None = None

    @property
    def shown_rows(self) -> tuple[Row, ...]:
        """The rows without those that are folded into another, see `shown_as`."""
        return tuple(row for row in self.rows if shown_as(row, self.rows) is row)

    def folded(self, row: Row) -> list[Row]:
        """Tuned rows whose tuning found nothing better than this untuned one."""
        pairs = [(one, shown_as(one, self.rows)) for one in self.rows]
        return [one for one, shown in pairs if shown is not one and shown.run_ids == row.run_ids]

    @property
    def finished(self) -> str:
        """When its last run was finished, UTC, ISO 8601."""
        return max(row.finished for row in self.rows)


def leaderboards(
    root: Path,
    corpus: Places = None,
    protocol: str | None = None,
    criteria: Criteria | None = None,
    *,
    older: bool = False,
) -> tuple[list[Board], list[str]]:
    """One board for each protocol hash in a results folder, of one corpus or protocol if named.

    A corpus is named as `CorpusRecord.is_meant_by` says, a joined one by all its parts too; a protocol by its
    name, its file or the beginning of its hash.

    Every run is graded by the same `criteria`, whatever it was graded by when it was made. Of runs that
    differ only in the code of their plugins the latest is shown, and those that differ only in their seed
    share a row, unless `older` is true: then each run has a row of its own.

    Returns:
        The boards, and lines on what is left out: runs that cannot be read, those that are compared with no
        other since their predictions are damaged, and how many are unfinished.

    Raises:
        ResultsError: no runs there, or none of that corpus or protocol.
        ConfigError: what is named as a protocol's file is none.
    """
    asked = criteria or Criteria()
    if protocol is not None and is_protocol_path(protocol):
        from marsbench.protocols.apply import find_protocol  # NumPy takes a tenth of a second

        protocol = find_protocol(protocol).name
    with no_search_for_cycles():
        groups, left_out = _rows_by_board(root, corpus, asked)
    wanted = {group: rows for group, rows in groups.items() if _is_named(protocol, group)}
    if not wanted and not left_out:
        _raise_available(root, corpus, protocol)
    shown = _with_views(
        {
            group: _with_gains(rows) if older else _one_a_configuration(rows, asked)
            for group, rows in groups.items()
        }
    )
    boards = [_board(root, shown[group], len(groups[group]), asked, left_out) for group in sorted(wanted)]
    return boards, left_out


def _rows_by_board(
    root: Path, corpus: Places, criteria: Criteria
) -> tuple[dict[_Group, list[Row]], list[str]]:
    """Every finished run as a row, and one line for each that is left out."""
    groups: dict[_Group, list[Row]] = {}
    left_out: list[str] = []
    n_unfinished = 0
    places = each_place(corpus)
    of_name = list(run_folders(root, *places)) if len(places) < 2 else []
    for folder in of_name or run_folders(root):
        try:
            run = folder.read_standing()
        except ResultsError as error:
            left_out.append(str(error))
            continue
        if run is None:
            n_unfinished += folder.is_planned
            continue
        if places and not (of_name or run.corpus.is_meant_by(*places)):
            continue
        run, problem = with_missing_metrics(folder, run)
        left_out += [problem] if problem else []
        group = (run.corpus.name, run.protocol.name, run.protocol.hash)
        groups.setdefault(group, []).append(row_of(run, criteria))
    if n_unfinished:
        left_out.append(f"{n_unfinished} run(s) that are not finished; bench status shows them")
    return groups, left_out


def _is_named(protocol: str | None, group: _Group) -> bool:
    if protocol in (None, group[1]):
        return True
    return protocol is not None and len(protocol) >= _LEAST_DIGITS and group[2].startswith(protocol.lower())


def _raise_available(root: Path, places: Places, protocol: str | None) -> None:
    corpus = None if places is None else places_phrase(places)
    folders = [folder.path for folder in find_runs(root)]
    known = {path.parents[1].name for path in folders}, {path.parents[0].name for path in folders}
    for what, wanted, names in (("corpus", corpus, known[0]), ("protocol", protocol, known[1])):
        if wanted is not None and names and wanted not in names:
            raise ResultsError(f"{root.absolute()}: {unknown(what, wanted, names)}")
    where = f"{root.absolute()}{f' on {corpus}' if corpus else ''}{f' under {protocol}' if protocol else ''}"
    raise ResultsError(f"no runs in {where}; make one with: bench run")


def _board(root: Path, rows: list[Row], n_runs: int, criteria: Criteria, left_out: list[str]) -> Board:
    first = rows[0].board
    in_order = ranked(rows)
    complete = [row for row in in_order if row.ranked_score is not None]
    # What is folded into a row is no other candidate: its predictions are those of that row.
    compared, unconfirmed = _with_letters(
        root, [row for row in complete if shown_as(row, complete) is row], left_out
    )
    by_id = {row.run_ids: row for row in compared}
    with_letters = [
        by_id.get(row.run_ids) or row._replace(letters=by_id[shown_as(row, complete).run_ids].letters)
        for row in complete
    ]
    return Board(
        corpus=first.corpus,
        protocol=first.protocol,
        hash=first.protocol_hash,
        synthetic=first.synthetic,
        criteria=criteria,
        rows=(*with_letters, *in_order[len(complete) :]),
        n_older=n_runs - sum(len(row.seeds) for row in rows),
        n_compared=sum(row.letters is not None for row in compared),
        unconfirmed=unconfirmed,
    )


def folders_of(root: Path, row: Row) -> list[RunFolder]:
    """The runs behind a row, one a seed."""
    return [RunFolder(root / row.board.corpus / row.board.protocol / run_id) for run_id in row.run_ids]


def _one_a_configuration(rows: Sequence[Row], criteria: Criteria) -> list[Row]:
    """One row per configuration: its latest code, its gain by tuning, and all complete seeds merged."""
    by_configuration: dict[str, list[Row]] = {}
    latest = {(row.configuration, row.seeds): row for row in sorted(rows, key=lambda row: row.finished)}
    for row in _with_gains(list(latest.values())):
        # A run that failed has no scores to be merged: it stays a row with its reason.
        key = row.configuration if row.ranked_score is not None else row.run_id
        by_configuration.setdefault(key, []).append(row)
    return [
        group[0] if len(group) == 1 else merged(sorted(group, key=lambda row: row.seeds), criteria)
        for group in by_configuration.values()
    ]


def _with_gains(rows: list[Row]) -> list[Row]:
    """Tuned rows beside the untuned run of the same seed that was finished last."""
    if all(row.tuner is None for row in rows):
        return rows
    in_time = sorted(rows, key=lambda row: row.finished)
    untuned = {
        (row.configuration, row.seeds): row
        for row in in_time
        if row.tuner is None and row.ranked_score is not None
    }
    return [
        row
        if row.tuner is None or row.ranked_score is None
        else row.beside(untuned.get((row.untuned_configuration, row.seeds)))
        for row in rows
    ]


def _with_views(groups: dict[_Group, list[Row]]) -> dict[_Group, list[Row]]:
    """Rows with those of the same configuration and clips under protocols that are more or less strict."""
    complete = [row for rows in groups.values() for row in rows if row.ranked_score is not None]
    if len({row.board.strictness for row in complete}) < 2:
        return groups
    views: dict[tuple[object, ...], dict[int, Row]] = {}
    # Of several protocols the first by name stands, but those of the default kind come before all others.
    for row in sorted(complete, key=_usual_last, reverse=True):
        views.setdefault(_same_clips(row), {})[row.board.strictness] = row
    return {group: [_with_view(row, views) for row in rows] for group, rows in groups.items()}


def _usual_last(row: Row) -> tuple[bool, str]:
    return row.board.protocol not in _USUAL, row.board.protocol


def _with_view(row: Row, views: dict[tuple[object, ...], dict[int, Row]]) -> Row:
    if row.ranked_score is None:
        return row
    found = sorted(views[_same_clips(row)].items(), reverse=True)
    return row._replace(views=tuple(view for level, view in found if level != row.board.strictness))


def row_beside_others(root: Path, run: Standing) -> Row | None:
    """The run as a row, with its untuned run and its views; None if it is not in that folder of results."""
    with no_search_for_cycles():
        groups, _ = _rows_by_board(root, run.corpus.name, run.criteria)
    in_time = {
        group: sorted(_with_gains(rows), key=lambda row: row.finished) for group, rows in groups.items()
    }
    rows = (row for rows in _with_views(in_time).values() for row in rows)
    return next((row for row in rows if row.run_id == run.run_id), None)


def _same_clips(row: Row) -> tuple[object, ...]:
    return row.board.corpus, row.board.fingerprint, row.scores.get("n_clips"), row.configuration


def shown_as(row: Row, rows: Sequence[Row]) -> Row:
    """The row itself, or of a tuned one that found nothing better the untuned one that stands for both."""
    if not row.found_nothing:
        return row
    untuned = row.board, row.untuned_configuration
    same = (one for one in rows if (one.board, one.configuration) == untuned)
    return next((one for one in same if set(row.seeds) <= set(one.seeds)), row)


def ranked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows by `RANKED_BY`, accuracy and id; equal scores share a rank; failed runs, last, have none.

    A row that is folded into another follows it and has its rank: it takes no number from those shown.
    """
    ordered: list[Row] = []
    before, rank, n_shown = (inf, inf), 0, 0
    pairs = [(shown_as(row, rows), row) for row in rows]
    for shown, row in sorted(pairs, key=lambda pair: (_place(pair[0]), pair[0] is not pair[1])):
        place = _place(shown)[:2]
        n_shown += shown is row
        rank = rank if place == before else n_shown
        before = place
        ordered.append(row if place[0] == inf else row._replace(rank=rank))
    return tuple(ordered)


def _place(row: Row) -> tuple[float, float, str]:
    """Sort key of a row; the best row has the lowest."""
    if row.ranked_score is None:
        return inf, inf, row.run_id
    sign = -1 if METRICS[RANKED_BY].higher_is_better else 1
    return sign * row.ranked_score, -row.scores["accuracy"], row.run_id


def _with_letters(
    root: Path, rows: Sequence[Row], left_out: list[str]
) -> tuple[list[Row], Unconfirmed | None]:
    """Rows of one board, best first, with letters, and what their folds cannot confirm.

    A row whose predictions cannot be read has no letters, and neither have those beyond the best
    `MOST_COMPARED`. The first one's score is corrected for having been chosen from all of them.
    """
    if len(rows) < 2:
        return list(rows), None
    candidates, behind = rows[:_MOST_CANDIDATES], rows[_MOST_CANDIDATES:]
    found = _known_ties(candidates, [folders_of(root, row) for row in candidates], left_out)
    shown = [row._replace(letters=own) for row, own in zip(candidates, found["letters"], strict=True)]
    if found["bias"] is not None:
        shown[0] = shown[0].chosen_from(found["n_candidates"], found["bias"])
    if not found["unconfirmed"]:
        return [*shown, *behind], None
    pair, *facts = found["unconfirmed"]
    return [*shown, *behind], Unconfirmed([rows[position].rank for position in pair], *facts)


def _known_ties(rows: Sequence[Row], folders: list[list[RunFolder]], left_out: list[str]) -> dict[str, Any]:
    """What `_ties` gives, kept in the cache, so that showing a leaderboard again computes nothing."""
    there = [[folder.predictions.exists() for folder in seeds] for seeds in folders]
    compared = [[row.configuration, row.seeds, row.run_id, row.finished] for row in rows]
    key = digest([versions_of("ties"), _MOST_CANDIDATES, compared, there])
    kept = home() / "ties" / f"{key[:32]}.json"
    try:
        found: dict[str, Any] = json.loads(read_checksummed(kept))
    except (OSError, DamagedError):
        problems: list[str] = []
        found = _ties(folders, problems)
        left_out += problems
        if not problems:  # damaged predictions may be written again, and the rows stay the same
            write_checksummed(kept, json.dumps(found))
    return found


def _ties(folders: list[list[RunFolder]], problems: list[str]) -> dict[str, Any]:
    """What paired tests of the rows, best first, come to, and how far luck has lifted the first one.

    `letters`: of each row, as of `compact_letters`; None where predictions cannot be read or are not of most
    rows' clips. `unconfirmed`: the fields of an `Unconfirmed`, but positions for ranks, or None. `bias`: of
    the first row's score, since it is the best of `n_candidates`; None if it has no letters.
    """
    from marsbench.evaluation.selection_bias import bias_of_best
    from marsbench.evaluation.significance import compact_letters, differences, separated

    comparable = _comparable(folders, problems)
    positions = [position for position in comparable if position < MOST_COMPARED]
    letters: list[list[str] | None] = [None] * len(folders)
    bias = bias_of_best(list(comparable.values())) if 0 in comparable and len(comparable) > 1 else None
    ties = {"letters": letters, "unconfirmed": None, "bias": bias, "n_candidates": len(comparable)}
    if len(positions) < 2:
        return ties
    found = differences([comparable[position] for position in positions])
    different, by_clips_alone = separated(found)
    for position, own in zip(positions, compact_letters(len(positions), different), strict=True):
        letters[position] = own
    sizes = {pair: (abs(found[pair].score.value), found[pair].shown_by_folds) for pair in by_clips_alone}
    weak = {pair: (value, shown) for pair, (value, shown) in sizes.items() if shown and value < shown}
    if not weak:
        return ties
    first, second = max(sorted(weak), key=weak.__getitem__)
    n_folds = len(set(comparable[positions[0]][0].folds.tolist()))
    facts = *weak[first, second], n_folds, len(weak)
    return ties | {"unconfirmed": [(positions[first], positions[second]), *facts]}


def _comparable(folders: list[list[RunFolder]], problems: list[str]) -> dict[int, list["Decisions"]]:
    """Decisions of each row's seeds, by the row's position; those alone that are of most rows' clips."""
    from marsbench.evaluation.predictions import Decisions
    from marsbench.results.predictions import read_predictions

    found: dict[int, list[Decisions]] = {}
    for position, seeds in enumerate(folders):
        known = next(iter(found.values()), [])[:1]
        try:
            read = [Decisions.of(read_predictions(folder, folder.read_run()), known) for folder in seeds]
        except ResultsError as error:
            if isinstance(error, DamagedError):
                problems.append(f"{seeds[0].path.name} is compared with no other run: {error}")
            continue
        if len({predictions.tested for predictions in read}) == 1:
            found[position] = read
    usual = Counter(read[0].tested for read in found.values()).most_common(1)
    return {position: read for position, read in found.items() if read[0].tested == usual[0][0]}
