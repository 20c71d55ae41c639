"""What takes the place of RBF machines of scikit-learn where there are too many clips for them.

The time of libsvm grows with the square of the clips, as the kernel matrix does. Nystroem's method (Williams
& Seeger 2001, NIPS 13) replaces the kernel by one of rank `_LANDMARKS`, from clips drawn at random; on what
it makes of a clip a linear machine is fitted whose loss is squared (Suykens & Vandewalle 1999, Neural
Processing Letters 9, 293-300), one class against the others. Its normal equations are summed in blocks of
clips: time is linear in the clips, memory beyond their values is constant. The fitted object is an ordinary
pipeline of scikit-learn.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CLIPS = 16_384
"""Training clips that an RBF machine is fitted to; the kernel matrix of so many takes 2 GiB."""
_LANDMARKS = 1_024
_BLOCK = 4_096
"""Clips at a time."""
_STEPS = ("landmarks", "least_squares")

Values = NDArray[np.float64]


def machine_of(estimator: Any) -> Any:
    """The RBF machine that is an estimator or its last step; None for others."""
    from sklearn.pipeline import Pipeline
    from sklearn.svm import SVC

    # Pipelines of other packages may do more with their steps than transform.
    last = estimator[-1] if type(estimator) is Pipeline else estimator
    is_plain = type(last) is SVC and last.kernel == "rbf"
    return last if is_plain and last.probability in (False, "deprecated") else None


def of_size(estimator: Any, n_clips: int) -> Any:
    """The unfitted estimator; for more than `MOST_CLIPS` an RBF machine's approximation, with a warning."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import Pipeline

    machine = machine_of(estimator)
    if machine is None or n_clips <= MOST_CLIPS:
        return estimator
    warnings.warn(
        f"more than {MOST_CLIPS:,} training clips: the time of an RBF machine grows with their square, so an "
        f"approximation was fitted (Nystroem, {_LANDMARKS:,} landmarks, least squares); scores may differ",
        stacklevel=2,
    )
    # The penalty of the squared loss, where C weighs the loss instead.
    linear = RidgeClassifier(1 / (2 * machine.C), class_weight=machine.class_weight)
    kernel = Nystroem(gamma=machine.gamma, n_components=_LANDMARKS)
    before = estimator.steps[:-1] if machine is not estimator else []
    return Pipeline([*before, *zip(_STEPS, (kernel, linear), strict=True)])


def is_approximation(estimator: Any) -> bool:
    """Whether `of_size` made it."""
    return tuple(name for name, _ in getattr(estimator, "steps", ())[-2:]) == _STEPS


def fit_approximation(estimator: Any, values: Values, targets: NDArray[np.int64]) -> Any:
    """Fit what `of_size` made to values (n_clips, n_dims) and targets (n_clips,)."""
    kernel, linear = estimator[-2:]
    if len(estimator.steps) > len(_STEPS):
        values = estimator[:-2].fit_transform(values, targets)
    if kernel.gamma in ("scale", "auto"):
        kernel.gamma = 1 / (values.shape[1] * (values.var() if kernel.gamma == "scale" else 1))
    kernel.n_components = min(kernel.n_components, len(values))
    kernel.fit(values)
    classes, firsts = np.unique(targets, return_index=True)
    # By itself it finds all that a fitted one has; of that its coefficients are replaced.
    linear.fit(kernel.transform(values[firsts]), classes)
    coefficients, intercepts = _least_squares(kernel, linear, values, targets)
    linear.coef_, linear.intercept_ = coefficients.reshape(linear.coef_.shape), intercepts
    return estimator


def _least_squares(
    kernel: Any, linear: Any, values: Values, targets: NDArray[np.int64]
) -> tuple[Values, Values]:
    """Coefficients (n_columns, n_landmarks) and intercepts (n_columns,): a column a class, one for two."""
    from scipy.linalg import solve
    from sklearn.utils.class_weight import compute_sample_weight

    weights = compute_sample_weight(linear.class_weight, targets)
    wanted = linear.classes_[1:] if len(linear.classes_) == 2 else linear.classes_
    n = kernel.n_components
    sums = np.zeros((n + 1, n + 1 + len(wanted)))  # the last row is that of a constant, for the intercepts
    for start in range(0, len(values), _BLOCK):
        part = slice(start, start + _BLOCK)
        given = np.column_stack([kernel.transform(values[part]), np.ones(len(values[part]))])
        signs = np.where(targets[part, None] == wanted, 1.0, -1.0)
        sums += (given * weights[part, None]).T @ np.column_stack([given, signs])
    mean = sums[-1] / sums[-1, n]
    centred = sums[:-1] - np.outer(sums[:-1, n], mean)
    gram = centred[:, :n] + linear.alpha * np.eye(n)
    coefficients = solve(gram, centred[:, n + 1 :], assume_a="pos").T
    return coefficients, mean[n + 1 :] - coefficients @ mean[:n]


def approximate_decisions(estimator: Any, values: Values) -> Values:
    """`estimator.decision_function` of clips (n_clips, n_dims), in blocks."""
    starts = range(0, len(values), _BLOCK)
    return np.concatenate([estimator.decision_function(values[start : start + _BLOCK]) for start in starts])
