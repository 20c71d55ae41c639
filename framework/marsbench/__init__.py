"""marsbench: which features and model recognise emotion in this audio best, honestly measured.

    import marsbench

    corpus = marsbench.load_corpus("demo")
    results = marsbench.run(features="functionals", model="svm", trials=0)
    marsbench.leaderboard()

What a plugin author needs is in `marsbench.plugin`; scikit-learn's estimators are in `marsbench.sklearn`. The
names here are loaded when asked for, so that the import takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from marsbench.errors import BenchError

__all__ = ["BenchError"]
__all__ += ["Fitted", "clip_table", "evaluate", "extract", "fit", "load", "load_corpus"]
__all__ += ["Result", "compare", "ensemble", "leaderboard", "run", "search", "write_report"]

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from marsbench import sklearn as sklearn
    from marsbench.api.corpora import Fitted, clip_table, evaluate, extract, fit, load, load_corpus
    from marsbench.api.runs import Result, compare, ensemble, leaderboard, run, search, write_report
else:  # hidden from them, so that a name that does not exist is still told
    _OF_CORPORA = {"Fitted", "clip_table", "evaluate", "extract", "fit", "load", "load_corpus"}

    def __getattr__(name: str) -> Any:
        if name == "sklearn":
            return import_module(f"{__name__}.sklearn")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = "corpora" if name in _OF_CORPORA else "runs"
        return getattr(import_module(f"{__name__}.api.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
