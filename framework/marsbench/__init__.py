"""marsbench: which features and model recognise emotion in this audio best, honestly measured.

    import marsbench

    corpus = marsbench.load_corpus("demo")
    results = marsbench.run(features="functionals", model="svm", trials=0)
    marsbench.leaderboard()

What a plugin author needs is in `marsbench.plugin`. The names here are loaded when asked for, so that the
import takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_MODULES = {
    "BenchError": "errors",
    "Fitted": "api.fitted",
    "Result": "api.result",
    "clip_table": "api.corpora",
    "compare": "api.runs",
    "ensemble": "api.runs",
    "extract": "api.corpora",
    "fit": "api.fitted",
    "leaderboard": "api.runs",
    "load_corpus": "api.corpora",
    "load": "api.fitted",
    "run": "api.runs",
    "search": "api.runs",
    "write_report": "api.runs",
}

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from marsbench.api.corpora import clip_table as clip_table
    from marsbench.api.corpora import extract as extract
    from marsbench.api.corpora import load_corpus as load_corpus
    from marsbench.api.fitted import Fitted as Fitted
    from marsbench.api.fitted import fit as fit
    from marsbench.api.fitted import load as load
    from marsbench.api.result import Result as Result
    from marsbench.api.runs import compare as compare
    from marsbench.api.runs import ensemble as ensemble
    from marsbench.api.runs import leaderboard as leaderboard
    from marsbench.api.runs import run as run
    from marsbench.api.runs import search as search
    from marsbench.api.runs import write_report as write_report
    from marsbench.errors import BenchError as BenchError
else:  # hidden from them, so that a name that does not exist is still told

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = [
    "BenchError",
    "Fitted",
    "Result",
    "clip_table",
    "compare",
    "ensemble",
    "extract",
    "fit",
    "leaderboard",
    "load",
    "load_corpus",
    "run",
    "search",
    "write_report",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
