"""Standardisation by training statistics, for models without a scaler of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from marsbench.errors import PluginError
from marsbench.plugin.features import Features, Floats


@dataclass(frozen=True)
class Scaling:
    """Per-dimension mean and standard deviation, float64 (n_dims,) each."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, features: Features) -> Self:
        """Statistics over the real frames of all clips; a constant dimension gets the deviation 1."""
        real = features.values[features.is_real] if features.kind == "frames" else features.values
        deviation = real.std(axis=0, dtype=np.float64)
        return cls(real.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))

    @classmethod
    def none(cls, features: Features) -> Self:
        """Leaves values as they are."""
        n_dims = features.input_shape[-1]
        return cls(np.zeros(n_dims), np.ones(n_dims))

    def apply(self, features: Features) -> Floats:
        """Standardised values, float32 and shaped as before; padding stays zero.

        Raises:
            PluginError: the features have another number of dimensions.
        """
        if features.input_shape[-1] != len(self.mean):
            raise PluginError(
                f"the model was fitted on {len(self.mean)} feature dimensions; "
                f"it was given {features.input_shape[-1]}"
            )
        values: Floats = features.values - self.mean.astype(np.float32)
        values /= self.deviation.astype(np.float32)
        if features.kind == "frames":
            values[~features.is_real] = 0
        return values

    def save(self, path: Path) -> None:
        """Write an npz file of both arrays."""
        np.savez(path, mean=self.mean, deviation=self.deviation)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; raises PluginError where `path` is something else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["mean"], arrays["deviation"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise PluginError(f"{path} holds no feature scaling: {error}") from error
