"""Create a new plugin from a template that works."""

import keyword
from pathlib import Path

from marsbench.atomic_files import write_text
from marsbench.errors import PluginError
from marsbench.plugin.registry import Kind, discover, drop_in_folders

_FEATURES = '''"""{title} features."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from marsbench.plugin import FeatureExtractor, FeatureKind, Floats


@dataclass
class {cls}(FeatureExtractor):
    """RMS level of each frame in dB (replace with your features)."""

    kind: ClassVar[FeatureKind] = "frames"
    frame_length: int = 2048
    hop_length: int = 512

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Compute float32 (n_frames, n_dims) of mono samples at `sample_rate` Hz."""
        padded = np.pad(waveform, (0, max(0, self.frame_length - len(waveform))))
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.frame_length)[:: self.hop_length]
        power = np.mean(frames.astype(np.float64) ** 2, axis=1, keepdims=True)
        return (10 * np.log10(power + 1e-10)).astype(np.float32)
'''

_MODELS = '''"""{title} model."""

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from marsbench.plugin import FeatureKind, HyperParameters, SklearnModel


@dataclass
class {cls}(SklearnModel):
    """Nearest neighbours (replace with your model)."""

    accepts: ClassVar[FeatureKind] = "vector"

    def build(self, hp: HyperParameters, input_shape: tuple[int, ...], n_classes: int) -> Any:
        """Return a scikit-learn classifier; each `hp` call declares what a tuner may vary."""
        neighbours = hp.Int("neighbours", 1, 15, default=5)
        return make_pipeline(StandardScaler(), KNeighborsClassifier(neighbours))
'''

_TEMPLATES: dict[Kind, str] = {"features": _FEATURES, "models": _MODELS}


def new_plugin(kind: Kind, name: str, folder: Path) -> Path:
    """Write a working plugin file into `folder`/<kind>/ and return its path.

    Raises:
        PluginError: a name that is not importable or already taken, or a kind without a template.
    """
    if kind not in _TEMPLATES:
        raise PluginError(f"No template for {kind}. Available: {', '.join(_TEMPLATES)}.")
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise PluginError(f"'{name}' is not a valid plugin name; use letters, digits and underscores")
    path = folder / kind / f"{name}.py"
    if path.exists():
        raise PluginError(f"{path} exists already; choose another name or edit it")
    words = name.split("_")
    title, cls = " ".join(words).capitalize(), "".join(word.capitalize() for word in words)
    if keyword.iskeyword(cls):
        raise PluginError(f"'{name}' is not a valid plugin name: its class would be named {cls}")
    write_text(path, _TEMPLATES[kind].format(title=title, cls=cls))
    _refuse_taken_name(path, folder)
    return path


def _refuse_taken_name(path: Path, folder: Path) -> None:
    """Delete the new file and raise PluginError if the registry refuses it."""
    discover.cache_clear()
    for reason in discover(drop_in_folders([folder])).refused:
        if reason.startswith(f"{path.absolute()}: "):
            path.unlink()
            discover.cache_clear()
            raise PluginError(reason.replace("rename the file", "choose another name"))
