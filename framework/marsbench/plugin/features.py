"""Base of feature extractor plugins, and `Features`: the features of several clips in one array."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError
from marsbench.plugin.base import Plugin
from marsbench.plugin.numba_cache import share_compiled_code
from marsbench.plugin.search_space import HyperParameters

Floats = NDArray[np.float32]
FeatureKind = Literal["frames", "vector"]
WAVEFORM, FEATURES = "waveform", "features"
"""Names of the input and output of `FeatureExtractor.onnx_graph`."""

share_compiled_code()  # here, since every process that extracts features imports this module first


class FeatureExtractor(Plugin):
    """Computes features of a waveform: `frames` (n_frames, n_dims) or a `vector` (n_dims,), float32."""

    kind: ClassVar[FeatureKind]
    sample_rate: int = 22_050
    """Sample rate in Hz of the waveforms that `extract` receives."""
    n_frames: int | None = None
    """Maximum number of frames that `extract` returns. Models receive every clip padded to it; if None, to
    the longest clip of the corpus."""

    def build(self, hp: HyperParameters) -> Self:  # noqa: ARG002 - for subclasses
        """Extractor with tuned parameters: a copy in which some parameters have the values that `hp` returns.

        The default of each hyperparameter is this extractor's own value.
        """
        return self

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Features of one clip.

        Args:
            waveform: mono samples, float32 (n_samples,), at least 0.1 s, not all zero; must not be modified.
            sample_rate: in Hz, always `self.sample_rate`.

        Returns:
            float32 `frames` (n_frames, n_dims) without padding, or a `vector` (n_dims,).
        """
        raise NotImplementedError

    def onnx_graph(self) -> Any:
        """`extract` as an `onnx.ModelProto`, for serving without Python; None if not implemented.

        Its input `waveform` is float32 (n_samples,) of any length at `sample_rate`, its output `features`
        float32 (n_frames, n_dims) or (n_dims,), equal to what `extract` returns up to rounding. Only standard
        operators of the opset that `marsbench.plugin.onnx` writes.
        """
        return None

    def checked_extract(self, waveform: Floats, sample_rate: int) -> Floats:
        """Call `extract` and check what it returns; gives a copy, as an extractor may reuse its array.

        Raises:
            PluginError: a wrong shape or dtype, a masked array, too many frames, or NaN or infinite values.
        """
        values = self.extract(waveform, sample_rate)
        if np.ma.isMaskedArray(values):
            raise PluginError(f"{self.name}.extract returned a masked array; fill it: array.filled(0)")
        if not isinstance(values, np.ndarray) or values.dtype != np.float32:
            found = getattr(values, "dtype", type(values).__name__)
            raise PluginError(f"{self.name}.extract returned {found}; a float32 array is needed")
        if values.ndim != (2 if self.kind == "frames" else 1) or 0 in values.shape:
            wanted = "(n_frames, n_dims)" if self.kind == "frames" else "(n_dims,)"
            raise PluginError(f"{self.name}.extract returned shape {values.shape}; {wanted} is needed")
        if self.kind == "frames" and self.n_frames is not None and len(values) > self.n_frames:
            raise PluginError(
                f"{self.name}.extract returned {len(values)} frames; the maximum is n_frames={self.n_frames}"
            )
        if not np.isfinite(values).all():
            raise PluginError(f"{self.name}.extract returned NaN or infinite values")
        return np.array(values)


@dataclass(frozen=True)
class Features:
    """Features of several clips in one array.

    `values` is float32 (n_clips, n_frames, n_dims), padded with zeros, or (n_clips, n_dims); `lengths` is the
    number of real frames of each clip, int64 (n_clips,), 1 for vectors.
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
        """Shape of one clip's features: (n_frames, n_dims) or (n_dims,)."""
        return self.values.shape[1:]

    @property
    def is_real(self) -> NDArray[np.bool_]:
        """Mask (n_clips, n_frames), True for real frames, False for padding; only for `frames`."""
        return np.arange(self.values.shape[1]) < self.lengths[:, None]

    def pooled(self) -> "Features":
        """Mean over each clip's real frames, (n_clips, n_dims); vectors are unchanged."""
        if self.kind == "vector":
            return self
        sums = self.values.sum(axis=1, dtype=np.float64)  # padding is zero
        return Features((sums / self.lengths[:, None]).astype(np.float32), np.ones_like(self.lengths))


def stacked(parts: Sequence[Features]) -> Features:
    """The clips of several, one after the other; all are of one shape."""
    if len(parts) == 1:
        return parts[0]
    values = np.concatenate([part.values for part in parts])
    return Features(values, np.concatenate([part.lengths for part in parts]))


def for_model(arrays: list[Floats], accepts: FeatureKind, n_frames: int | None) -> Features:
    """Features of new clips in the form that a model was trained on.

    Args:
        arrays: an extractor's output for each clip.
        accepts: kind of features that the model accepts; frames are mean-pooled for "vector".
        n_frames: number of frames that the model was trained on; longer clips are truncated.
    """
    if accepts == "vector":
        return pad(arrays, None).pooled()
    return pad([array[:n_frames] for array in arrays], n_frames)


def pad(arrays: list[Floats], n_frames: int | None) -> Features:
    """Stack arrays of clips; `frames` are padded with zeros to `n_frames`, or to the longest clip if None."""
    if arrays[0].ndim == 1:
        return Features(np.stack(arrays), np.ones(len(arrays), np.int64))
    lengths = np.array([len(array) for array in arrays], np.int64)
    values = np.zeros((len(arrays), n_frames or int(lengths.max()), arrays[0].shape[1]), np.float32)
    for row, array in enumerate(arrays):
        values[row, : len(array)] = array
    return Features(values, lengths)
