"""Several leaderboards at once, for a terminal, as Markdown and for other programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from marsbench.config import is_transductive
from marsbench.evaluation.metrics import METRICS, RANKED_BY
from marsbench.report.boards import COLOURS, escaped, markdown_line
from marsbench.report.columns import formatted
from marsbench.report.phrases import pipeline_phrase
from marsbench.report.terminal.console import n_more, table
from marsbench.results.across import LEAST_CORPORA, AcrossBoards, Contender
from marsbench.results.leaderboard import Board
from marsbench.results.row import Row
from marsbench.results.schema import NORMALISED

_SIGNS = {"pass": "+", "fail": "-", "undecided": "?"}
_MISSING = "missing"
_NAMED = 2
"""Pipelines that are as good as the best of a corpus; JSON has all."""


def terminal_across(shown: AcrossBoards, top: int = 30) -> RenderableType:
    """The `top` pipelines (0: all) on each corpus, with ranks, wins and notes."""
    contenders = shown.contenders[: top or None]
    rows = []
    for one in contenders:
        cells = [_score_text(row, board) for row, board in zip(one.rows, shown.boards, strict=True)]
        rows.append((pipeline_phrase(one.row), _rank(one), _counts(one), *cells))
    numbers = ["mean rank", "won-level-lost", *(board.corpus for board in shown.boards)]
    title = f"\n{METRICS[RANKED_BY].title} on {len(shown.boards)} corpora, {shown.protocol}"
    made = table("pipeline", numbers=numbers, rows=rows, title=title)
    hidden = n_more(len(shown.contenders) - len(contenders))
    return Group(made, *hidden, *(Text(line, "dim") for line in notes(shown)))


def _score_text(row: Row | None, board: Board) -> Text:
    if row is None or row.ranked_score is None:
        return Text(_MISSING, "dim")
    style = COLOURS.get(row.verdict or "", "")
    return Text(_score(row, board), f"{style} bold" if _is_best(row, board) else style)


def _is_best(row: Row, board: Board) -> bool:
    return row.ranked_score == board.rows[0].ranked_score


def _score(row: Row, board: Board) -> str:
    """The score, a star if no other is better there, and the sign of the verdict."""
    star = "*" if _is_best(row, board) else ""
    return f"{formatted(row.ranked_score or 0.0, 'share')}{star} {_SIGNS.get(row.verdict or '', '')}"


def _rank(one: Contender) -> str:
    """The mean rank and the range of ranks; a dash for a pipeline that is missing somewhere."""
    if one.mean_rank is None:
        return "-"
    return f"{one.mean_rank:.2g} ({min(one.ranks):g} to {max(one.ranks):g})"


def _counts(one: Contender) -> str:
    return f"{one.wins}-{one.ties}-{one.losses}" if one.ranks else "-"


def notes(shown: AcrossBoards) -> Iterator[str]:
    """Who is best where, and what ranks and signs mean."""
    for place, board in enumerate(shown.boards):
        first, *level = shown.best_on(place)
        rest = f"; no significant difference from {_some(level)}" if level else ""
        corpus = f"{board.corpus}{' (synthetic)' if board.synthetic else ''}"
        yield f"Best on {corpus}: {pipeline_phrase(first)}{rest}."
    yield from (f"{note}." for note in shown.notes)
    if missing := len(shown.contenders) - shown.n_ranked:
        yield f"{missing} pipeline(s) without a complete run on each corpus have no rank."
    if shown.n_ranked:
        yield (
            f"Ranks are among the {shown.n_ranked} that are on all corpora; in brackets from the best to the "
            f"worst. {_uncertainty(shown)}"
        )
        yield (
            "won-level-lost: significant differences and pairs without one, over corpora and other ranked "
            "pipelines, by the tests of each leaderboard."
        )
    yield "Scores in %; * the best there; verdict: + pass, - fail, ? undecided."
    rows = (row for one in shown.contenders for row in one.rows if row is not None)
    yield from dict.fromkeys(f"{NORMALISED[row.normalise]}." for row in rows if row.normalise)


def _some(rows: Sequence[Row]) -> str:
    """The first few pipelines, and how many more there are."""
    named = "; ".join(pipeline_phrase(row) for row in rows[:_NAMED])
    return named + (f"; and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")


def _uncertainty(shown: AcrossBoards) -> str:
    """What the mean ranks can be trusted for."""
    if shown.p_equal is None or shown.critical_difference is None:
        return (
            f"{len(shown.boards)} corpora are too few to say how mean ranks would be on others (a test needs "
            f"{LEAST_CORPORA})."
        )
    return (
        f"Friedman's test that all are equal: p = {shown.p_equal:.2g}; mean ranks that differ by more than "
        f"{shown.critical_difference:.2f} differ significantly (Nemenyi, 5 %)."
    )


def markdown_across(shown: AcrossBoards, top: int = 30) -> str:
    """The same as a Markdown table with a line of notes."""
    headers = ["pipeline", "mean rank", "won-level-lost", *(escaped(board.corpus) for board in shown.boards)]
    lines = [markdown_line(headers), markdown_line([":--", *["--:"] * (len(headers) - 1)])]
    for one in shown.contenders[: top or None]:
        pairs = zip(one.rows, shown.boards, strict=True)
        cells = [_MISSING if row is None else escaped(_score(row, board)) for row, board in pairs]
        lines.append(markdown_line([escaped(pipeline_phrase(one.row)), _rank(one), _counts(one), *cells]))
    title = f"**{METRICS[RANKED_BY].title} on {len(shown.boards)} corpora, {escaped(shown.protocol)}**"
    return "\n".join([title, "", *lines, "", " ".join(map(escaped, notes(shown)))])


def across_values(shown: AcrossBoards) -> dict[str, Any]:
    """All of it for other programs."""
    return {
        "protocol": shown.protocol,
        "metric": RANKED_BY,
        "corpora": [
            {
                "corpus": board.corpus,
                "protocol_hash": board.hash,
                "synthetic": board.synthetic,
                "best": [pipeline_phrase(row) for row in shown.best_on(place)],
            }
            for place, board in enumerate(shown.boards)
        ],
        "n_ranked": shown.n_ranked,
        "p_equal": shown.p_equal,
        "critical_difference": shown.critical_difference,
        "pipelines": [_values(shown, one) for one in shown.contenders],
        "notes": list(notes(shown)),
    }


def _values(shown: AcrossBoards, one: Contender) -> dict[str, Any]:
    row = one.row
    return {
        "pipeline": pipeline_phrase(row),
        **{name: getattr(row, name) for name in ("features", "model", "settings", "tuner", "normalise")},
        "transductive": is_transductive(row.normalise),
        "versions": row.versions and row.versions.phrase,
        "mean_rank": one.mean_rank,
        "best_rank": min(one.ranks, default=None),
        "worst_rank": max(one.ranks, default=None),
        **{name: getattr(one, name) if one.ranks else None for name in ("wins", "ties", "losses")},
        "scores": {
            board.corpus: _of_row(own, one.ranks[place] if one.ranks else None)
            for place, (board, own) in enumerate(zip(shown.boards, one.rows, strict=True))
        },
    }


def _of_row(row: Row | None, rank: float | None) -> dict[str, Any] | None:
    if row is None:
        return None
    ends = {f"{RANKED_BY}{end}": row.scores.get(f"{RANKED_BY}{end}") for end in ("", "_low", "_high")}
    return {**ends, "verdict": row.verdict, "rank": rank, "letters": row.letters, "run_id": row.run_id}


def across_rows(shown: AcrossBoards) -> list[dict[str, Any]]:
    """A flat row for each pipeline, with a column for each fact on each corpus."""
    rows = []
    for one in across_values(shown)["pipelines"]:
        scores = one.pop("scores")
        flat = {
            f"{corpus}_{name}": None if found is None else found[name]
            for corpus, found in scores.items()
            for name in _OF_CORPUS
        }
        rows.append(one | flat)
    return rows


_OF_CORPUS = (RANKED_BY, f"{RANKED_BY}_low", f"{RANKED_BY}_high", "verdict", "rank", "run_id")
