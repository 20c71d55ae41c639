"""How the frames of a clip are normalised."""

from typing import Literal

import numpy as np

from marsbench.plugin.features import Floats

Normalisation = Literal["clip", "dimension", "none"]
"""One mean and standard deviation over all values of a clip; one of each per dimension; or as they are."""
FLAT = 1e-5
"""Standard deviations below this are rounding errors of values around 100 (dB) in float32."""


def normalised(frames: Floats, normalisation: Normalisation) -> Floats:
    """Subtract the mean and divide by the standard deviation; what does not vary becomes 0."""
    if normalisation == "none":
        return frames
    axis = 0 if normalisation == "dimension" else None
    mean = frames.mean(axis=axis, dtype=np.float64)
    deviation = frames.std(axis=axis, dtype=np.float64)
    scaled: Floats = ((frames - mean) / np.where(deviation < FLAT, np.inf, deviation)).astype(np.float32)
    return scaled
