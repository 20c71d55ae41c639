"""The base classes of plugins: derive from one of them in a file that has the plugin's name.

The names are imported on first access, so that listing plugins imports nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_MODULES = {
    "Dataset": "base",
    "FeatureExtractor": "features",
    "FeatureKind": "features",
    "Features": "features",
    "Floats": "features",
    "Examples": "model",
    "FitContext": "model",
    "Model": "model",
    "Probabilities": "model",
    "SklearnModel": "sklearn",
    "KerasModel": "keras.model",
    "HyperParameters": "search_space",
}

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from marsbench.plugin.base import Dataset as Dataset
    from marsbench.plugin.features import FeatureExtractor as FeatureExtractor
    from marsbench.plugin.features import FeatureKind as FeatureKind
    from marsbench.plugin.features import Features as Features
    from marsbench.plugin.features import Floats as Floats
    from marsbench.plugin.keras.model import KerasModel as KerasModel
    from marsbench.plugin.model import Examples as Examples
    from marsbench.plugin.model import FitContext as FitContext
    from marsbench.plugin.model import Model as Model
    from marsbench.plugin.model import Probabilities as Probabilities
    from marsbench.plugin.search_space import HyperParameters as HyperParameters
    from marsbench.plugin.sklearn import SklearnModel as SklearnModel

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
