"""What a feature extractor plugin is, and the arrays that its output becomes."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError
from marsbench.plugin.base import Plugin
from marsbench.plugin.search_space import HyperParameters

Floats = NDArray[np.float32]
FeatureKind = Literal["frames", "vector"]
WAVEFORM, FEATURES = "waveform", "features"
"""What `FeatureExtractor.onnx_graph` calls its input and its output."""


class FeatureExtractor(Plugin):
    """Waveform -> float32 array: `frames` (n_frames, n_dims) or `vector` (n_dims,)."""

    kind: ClassVar[FeatureKind]
    sample_rate: int = 22_050
    """Rate in Hz that `extract` is given."""
    n_frames: int | None = None
    """Most frames that `extract` returns; a model sees every clip padded to this (None: to the longest)."""

    def build(self, hp: HyperParameters) -> Self:  # noqa: ARG002 - for subclasses to ask
        """Extractor of this configuration: this one, or one with what `hp` answers for some parameters.

        The default of each declaration is this extractor's own value, so that all defaults together are it.
        """
        return self

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Features of one clip.

        Args:
            waveform: mono samples, float32 (n_samples,), at least 0.1 s, not all zero; not to be modified.
            sample_rate: in Hz, always `self.sample_rate`.

        Returns:
            float32 `frames` (n_frames, n_dims), real frames only, never padding; or `vector` (n_dims,).
        """
        raise NotImplementedError

    def onnx_graph(self) -> Any:
        """`extract` as an `onnx.ModelProto`, for serving without Python's audio libraries; None: has none.

        Its input `waveform` is float32 (n_samples,) of any length at `sample_rate`, its output `features`
        float32 (n_frames, n_dims) or (n_dims,), equal to what `extract` returns up to rounding. Standard
        operators only, of the opset that `marsbench.plugin.onnx` writes.
        """
        return None

    def checked_extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """`extract`, refusing what breaks the contract: a wrong shape, another dtype, NaN or infinity.

        Raises:
            PluginError: naming the plugin and what it returned.
        """
        values = self.extract(waveform, sample_rate)
        if not isinstance(values, np.ndarray) or values.dtype != np.float32:
            found = getattr(values, "dtype", type(values).__name__)
            raise PluginError(f"{self.name}.extract returned {found}; a float32 array is needed")
        if values.ndim != (2 if self.kind == "frames" else 1) or 0 in values.shape:
            wanted = "(n_frames, n_dims)" if self.kind == "frames" else "(n_dims,)"
            raise PluginError(f"{self.name}.extract returned shape {values.shape}; {wanted} is needed")
        if self.kind == "frames" and self.n_frames is not None and len(values) > self.n_frames:
            raise PluginError(f"{self.name}.extract returned {len(values)} frames; at most {self.n_frames}")
        if not np.isfinite(values).all():
            raise PluginError(f"{self.name}.extract returned NaN or infinite values")
        return values


@dataclass(frozen=True)
class Features:
    """Features of several clips in one array.

    `values` is float32 (n_clips, n_frames, n_dims), zeros behind each clip's real frames, or
    (n_clips, n_dims); `lengths` int64 (n_clips,) counts real frames (1 for vectors).
    """

    values: Floats
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: NDArray[np.int64]) -> "Features":
        return Features(self.values[rows], self.lengths[rows])

    @property
    def kind(self) -> FeatureKind:
        """`frames` or `vector`."""
        return "frames" if self.values.ndim == 3 else "vector"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one clip's features."""
        return self.values.shape[1:]

    @property
    def is_real(self) -> NDArray[np.bool_]:
        """True for real frames, False for padding, (n_clips, n_frames); for `frames` only."""
        return np.arange(self.values.shape[1]) < self.lengths[:, None]

    def pooled(self) -> "Features":
        """Mean over real frames, (n_clips, n_dims); vectors as they are."""
        if self.kind == "vector":
            return self
        sums = self.values.sum(axis=1, dtype=np.float64)  # padding is zero
        return Features((sums / self.lengths[:, None]).astype(np.float32), np.ones_like(self.lengths))


def for_model(arrays: list[Floats], accepts: FeatureKind, n_frames: int | None) -> Features:
    """New clips' arrays as a model saw those of training.

    Args:
        arrays: what an extractor returned, clip by clip.
        accepts: the model's.
        n_frames: length that it was trained on, for frames; what is longer is cut off.
    """
    if accepts == "vector":
        return pad(arrays, None).pooled()
    return pad([array[:n_frames] for array in arrays], n_frames)


def pad(arrays: list[Floats], n_frames: int | None) -> Features:
    """Stack per-clip arrays; `frames` are padded with zeros to `n_frames` (None: to the longest)."""
    if arrays[0].ndim == 1:
        return Features(np.stack(arrays), np.ones(len(arrays), np.int64))
    lengths = np.array([len(array) for array in arrays], np.int64)
    values = np.zeros((len(arrays), n_frames or int(lengths.max()), arrays[0].shape[1]), np.float32)
    for row, array in enumerate(arrays):
        values[row, : len(array)] = array
    return Features(values, lengths)
