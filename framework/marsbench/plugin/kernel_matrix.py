"""RBF machines of scikit-learn, fitted and asked by a kernel matrix.

libsvm computes an RBF kernel row by row. Here BLAS computes the matrix at once, libsvm is given it as
`kernel="precomputed"`, and what it finds becomes the state of an ordinary machine with support vectors. Both
ways compute exp(-gamma (|x|^2 + |y|^2 - 2 xy)) in float64, which libsvm then rounds to single precision while
it trains: the machines have the same support vectors, and decision values equal up to rounding.
"""

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marsbench.plugin.kernel_approximation import (
    approximate_decisions,
    fit_approximation,
    is_approximation,
    machine_of,
)

_MOST_BYTES = 512 << 20
"""Largest matrix; above it, at 8,192 clips, libsvm computes the rows that it needs."""
_FEWEST_CLIPS = 32
"""Fewer are asked one by one, which costs less than the matrix's preparation."""
_LARGEST_EXPONENT = 1e4
"""Largest gamma |x|^2; above it, the rounding of |x|^2 in either way would show in the result."""
_CLOSE = 1e-8
"""How close the two machines' decision values are for the clip that is tried."""

_MOST_KEPT = 256 << 20
"""Bytes of `_kept`."""

Values = NDArray[np.float64]

_kept: list[tuple[Values, Values]] = []
"""Values of clips and their inner products, those asked for last at the end."""


def fit_machine(estimator: Any, values: Values, targets: NDArray[np.int64]) -> Any:
    """Fit a classifier or pipeline, by a kernel matrix if its last step is a machine where that is equal."""
    if is_approximation(estimator):
        return fit_approximation(estimator, values, targets)
    machine = machine_of(estimator)
    if machine is None or values.ndim != 2:
        estimator.fit(values, targets)
        return estimator
    if machine is not estimator and len(estimator.steps) > 1:
        values = estimator[:-1].fit_transform(values, targets)
    if not _fit_by_matrix(machine, values, targets):
        machine.fit(values, targets)
    return estimator


def decision_values(estimator: Any, values: Values) -> Values:
    """`estimator.decision_function` of many clips, (n_clips, n_classes), of two classes (n_clips,)."""
    if is_approximation(estimator):
        return approximate_decisions(estimator, values)
    machine = machine_of(estimator)
    if machine is None or values.ndim != 2 or len(values) < _FEWEST_CLIPS:
        return np.asarray(estimator.decision_function(values))
    if machine is not estimator and len(estimator.steps) > 1:
        values = estimator[:-1].transform(values)
    if (kernel := _kernel(values, machine.support_vectors_, vars(machine)["_gamma"])) is None:
        return np.asarray(machine.decision_function(values))
    twin = copy(machine).set_params(kernel="precomputed")
    n_vectors = len(machine.support_vectors_)
    twin.support_, twin.support_vectors_ = np.arange(n_vectors, dtype=np.int32), np.empty((0, 0))
    twin.shape_fit_, twin.n_features_in_ = (n_vectors, n_vectors), n_vectors
    return np.asarray(twin.decision_function(kernel))


def _fit_by_matrix(machine: Any, values: Any, targets: NDArray[np.int64]) -> bool:
    """Whether the machine could be fitted by a kernel matrix, and now is."""
    gamma = _gamma(machine, values)
    if gamma is None or (kernel := _kernel(values, values, gamma)) is None:
        return False
    np.fill_diagonal(kernel, 1.0)
    twin = copy(machine).set_params(kernel="precomputed").fit(kernel, targets)
    parameters = machine.get_params()
    vars(machine).update({name: value for name, value in vars(twin).items() if name not in parameters})
    machine.support_vectors_ = values[twin.support_]
    machine.shape_fit_, machine.n_features_in_ = values.shape, values.shape[1]
    vars(machine)["_gamma"] = gamma
    # Another version of scikit-learn may keep more, or keep it otherwise.
    return np.allclose(
        machine.decision_function(values[:1]), twin.decision_function(kernel[:1]), _CLOSE, _CLOSE
    )


def _gamma(machine: Any, values: Any) -> Any:
    """The number that a machine's `gamma` means for these values; None if scikit-learn is to say."""
    if machine.gamma == "scale":
        variance = values.var() if isinstance(values, np.ndarray) else 0.0
        return 1.0 / (values.shape[1] * variance) if variance else None
    if machine.gamma == "auto":
        return 1.0 / values.shape[1]
    return machine.gamma if isinstance(machine.gamma, float | int) and machine.gamma >= 0 else None


def _kernel(values: Any, others: Any, gamma: float) -> Values | None:
    """RBF kernel, (n_clips, n_others); None where it would be too large, or lose digits to rounding."""
    are_plain = all(isinstance(part, np.ndarray) and part.dtype == np.float64 for part in (values, others))
    if not are_plain or len(values) * len(others) * 8 > _MOST_BYTES:
        return None
    squares, other_squares = (gamma * np.einsum("ij,ij->i", part, part) for part in (values, others))
    largest = max(squares.max(initial=0.0), other_squares.max(initial=0.0))
    if not largest <= _LARGEST_EXPONENT:  # NaN too
        return None
    kernel: Values = _products(values, others) * (2 * gamma)
    kernel -= squares[:, None]
    kernel -= other_squares
    return np.exp(np.minimum(kernel, 0.0, out=kernel), out=kernel)


def _products(values: Values, others: Values) -> Values:
    """Inner products, (n_clips, n_others).

    Those of training clips with themselves are kept for a while: fits that differ in C and gamma alone, as
    trials do, follow one another in one process.
    """
    if values is not others:
        return values @ others.T
    for position, (known, products) in enumerate(_kept):
        if known.shape == values.shape and (known[0] == values[0]).all() and np.array_equal(known, values):
            _kept.append(_kept.pop(position))
            return products
    products = values @ values.T
    _kept.append((values.copy(), products))
    while sum(array.nbytes for pair in _kept for array in pair) > _MOST_KEPT:
        _kept.pop(0)
    return products
