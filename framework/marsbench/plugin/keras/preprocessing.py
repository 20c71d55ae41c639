"""Preprocessing of Keras models: standardisation by training statistics, and augmentation.

Noise, gain and shift are applied to features instead of waveforms. Masks are those of SpecAugment (Park et
al. 2019, arXiv:1904.08779), mixup is that of Zhang et al. 2018, arXiv:1710.09412.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError
from marsbench.plugin.features import Features, Floats
from marsbench.plugin.search_space import HyperParameters


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each dimension, float64 (n_dims,) each."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def fit(cls, features: Features) -> Self:
        """Statistics over the real frames of all clips; the deviation of a constant dimension is set to 1."""
        real = features.values[features.is_real] if features.kind == "frames" else features.values
        deviation = real.std(axis=0, dtype=np.float64)
        return cls(real.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))

    @classmethod
    def identity(cls, features: Features) -> Self:
        """Scaling that leaves values unchanged."""
        n_dims = features.input_shape[-1]
        return cls(np.zeros(n_dims), np.ones(n_dims))

    def apply(self, features: Features) -> Floats:
        """Standardised values, float32, in the shape of `features.values`; padding stays zero.

        Raises:
            PluginError: the features have a different number of dimensions.
        """
        if features.input_shape[-1] != len(self.mean):
            raise PluginError(
                f"the model was fitted on {len(self.mean)} feature dimensions; "
                f"the given features have {features.input_shape[-1]}"
            )
        values: Floats = features.values - self.mean.astype(np.float32)
        values /= self.deviation.astype(np.float32)
        if features.kind == "frames":
            values[~features.is_real] = 0
        return values

    def save(self, path: Path) -> None:
        """Write both arrays as an npz file."""
        np.savez(path, mean=self.mean, deviation=self.deviation)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises PluginError if `path` is something else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["mean"], arrays["deviation"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise PluginError(f"{path} is not a feature scaling: {error}") from error


@dataclass(frozen=True)
class Augmentation:
    """Strengths of random changes to training examples, new in each epoch; 0 switches a change off.

    Args:
        noise: standard deviation of Gaussian noise, in standard deviations of the features.
        gain: standard deviation of the logarithm of a factor on all values of a clip.
        shift: maximum shift in time, as a share of all frames; only for `frames`.
        time_mask: maximum width of each of two masks in time, as a share of all frames; only for `frames`.
        dimension_mask: maximum width of each of two masks over dimensions, as a share of all dimensions.
        mixup: parameter alpha of the Beta distribution of the weights by which pairs of clips are mixed.
    """

    noise: float = 0.0
    gain: float = 0.0
    shift: float = 0.0
    time_mask: float = 0.0
    dimension_mask: float = 0.0
    mixup: float = 0.0

    @classmethod
    def declare(cls, hp: HyperParameters, has_frames: bool) -> Self | None:
        """Declare the hyperparameters; None, the default, is no augmentation."""
        wanted = hp.Boolean("augment", default=False)
        with hp.conditional_scope("augment", [True]):
            strengths = {
                "noise": hp.Float("noise", 0.0, 0.4, step=0.1, default=0.1),
                "gain": hp.Float("gain", 0.0, 0.2, step=0.05, default=0.0),
                "dimension_mask": hp.Float("dimension_mask", 0.0, 0.2, step=0.05, default=0.1),
                "mixup": hp.Float("mixup", 0.0, 0.4, step=0.1, default=0.2),
            }
            if has_frames:
                strengths["shift"] = hp.Float("shift", 0.0, 0.2, step=0.05, default=0.1)
                strengths["time_mask"] = hp.Float("time_mask", 0.0, 0.2, step=0.05, default=0.1)
        return cls(**strengths) if wanted else None

    def apply(
        self, values: Floats, real: NDArray[np.bool_], targets: Floats, random: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Augmented copies of the values and the targets.

        Args:
            values: standardised features, (n_clips, n_frames, n_dims) or (n_clips, n_dims).
            real: False for padding, in the shape of `values` without its last axis. Padding stays zero unless
                real frames are shifted or mixed into it.
            targets: one-hot rows, float32 (n_clips, n_classes).
            random: equal generators give equal results.
        """
        varied = values.copy()
        n_clips = len(values)
        per_clip = (n_clips, *[1] * (values.ndim - 1))
        if self.gain:
            varied *= np.exp(self.gain * random.standard_normal(per_clip, np.float32))
        if self.noise:
            noise = random.standard_normal(values.shape, np.float32)
            noise *= self.noise
            varied += noise * real[..., None]
        if values.ndim == 3:
            varied = self._vary_time(varied, random)
        for _ in range(2 if self.dimension_mask else 0):
            mask = _masks(n_clips, values.shape[-1], self.dimension_mask, random)
            varied *= ~mask[:, None] if values.ndim == 3 else ~mask
        if self.mixup:
            return _mix(varied, targets, random.beta(self.mixup, self.mixup, n_clips), random)
        return varied, targets

    def _vary_time(self, values: Floats, random: np.random.Generator) -> Floats:
        n_clips, n_frames, _ = values.shape
        if self.shift:
            most = int(self.shift * n_frames)
            by = np.asarray(random.integers(-most, most + 1, n_clips))
            moved = np.arange(n_frames) - by[:, None]
            inside = (moved >= 0) & (moved < n_frames)
            values = np.take_along_axis(values, np.clip(moved, 0, n_frames - 1)[..., None], axis=1)
            values *= inside[..., None]
        for _ in range(2 if self.time_mask else 0):
            values *= ~_masks(n_clips, n_frames, self.time_mask, random)[..., None]
        return values


def _masks(n_clips: int, length: int, share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Mask (n_clips, length) that is True on one interval of each clip, up to `share` of the length wide."""
    widths = random.integers(0, int(share * length) + 1, n_clips)
    starts = np.asarray(random.integers(0, length - widths + 1))
    indices = np.arange(length)
    return (indices >= starts[:, None]) & (indices < (starts + widths)[:, None])


def _mix(
    values: Floats, targets: Floats, weights: NDArray[np.float64], random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Mix each clip and its target with those of another clip; its own weight is at least a half."""
    own = np.maximum(weights, 1 - weights).astype(np.float32)
    others = random.permutation(len(values))
    wide = own.reshape(-1, *[1] * (values.ndim - 1))
    return wide * values + (1 - wide) * values[others], own[:, None] * targets + (1 - own[:, None]) * targets[
        others
    ]
