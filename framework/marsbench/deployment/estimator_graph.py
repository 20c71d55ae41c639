"""A fitted scikit-learn classifier as an ONNX graph, by skl2onnx where that is right."""

import warnings
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from marsbench.environment import import_extra
from marsbench.errors import ExportError, first_line
from marsbench.plugin.kernel_approximation import is_approximation
from marsbench.plugin.onnx import OPSET, Graph, import_onnx, onnx_session, rbf_kernel

_ML_DOMAIN, _ML_OPSET = "ai.onnx.ml", 3
_GRAPH_TOLERANCE = 1e-3
"""Largest absolute and relative difference of an estimator's graph on probes."""
_N_PROBES = 32
_LONGEST_REASON = 120
"""Characters; some messages of skl2onnx name every number of the model."""


def estimator_graph(estimator: Any, name: str) -> Any:
    """Graph of a fitted scikit-learn classifier, from (1, n_dims) to probabilities or else decision values.

    Some graphs of skl2onnx are wrong (version 1.20: two classes of a CalibratedClassifierCV), others cannot
    run in double precision. The first that gives what the estimator gives on made-up values is taken.

    Raises:
        ExportError: there is none.
    """
    from sklearn.dummy import DummyClassifier

    if isinstance(estimator, DummyClassifier) and estimator.strategy == "prior":
        return _prior_graph(estimator)
    import_onnx()
    if is_approximation(estimator):  # skl2onnx 1.20 has no Nystroem
        return _approximation_graph(estimator, name)
    estimator = _with_regression(estimator)
    problem = ""
    for input_type, is_mapped in product((np.float64, np.float32), (True, False)):
        try:
            graph = _converted(estimator, input_type, is_mapped=is_mapped)
            if _is_right(graph, estimator):
                return graph
            problem = problem or "the graph gives other values than the estimator"
        except ExportError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever skl2onnx and onnxruntime raise for a model
            problem = problem or first_line(error)
    what = type(_last(estimator)).__name__
    reason = f": {problem}" if len(problem) <= _LONGEST_REASON else ""
    raise ExportError(f"{name}: skl2onnx cannot convert a {what}{reason}")


def _converted(estimator: Any, input_type: DTypeLike, *, is_mapped: bool) -> Any:
    kinds = import_extra("skl2onnx.common.data_types", "export")
    tensor = kinds.DoubleTensorType if input_type is np.float64 else kinds.FloatTensorType
    options = {} if hasattr(estimator, "predict_proba") else {"raw_scores": True}
    if is_mapped:  # an array instead of a dictionary; refused by estimators that would give an array anyway
        options["zipmap"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it touches everything that scikit-learn deprecates
        return import_extra("skl2onnx", "export").to_onnx(
            estimator,
            initial_types=[("values", tensor([None, estimator.n_features_in_]))],
            options={id(_last(estimator)): options},  # those of a pipeline are not passed on to its last step
            target_opset={"": OPSET, _ML_DOMAIN: _ML_OPSET},
        )


def number_type(end: Any) -> Any:
    """Number type of a graph's input or output."""
    return import_onnx().helper.tensor_dtype_to_np_dtype(end.type.tensor_type.elem_type)


def _is_right(model: Any, estimator: Any) -> bool:
    """Whether the graph gives what the estimator gives on made-up values."""
    values = _probes(estimator).astype(number_type(model.graph.input[0]))
    session = onnx_session(model.SerializeToString(), "export")
    found = session.run(None, {"values": values})[-1]
    predict = getattr(estimator, "predict_proba", None) or estimator.decision_function
    expected = predict(values.astype(np.float64))
    found = found[:, -1] if expected.ndim == 1 else found
    if found.shape != expected.shape:
        return False
    return bool(np.allclose(found, expected, _GRAPH_TOLERANCE, _GRAPH_TOLERANCE))


def _with_regression(estimator: Any) -> Any:
    """A LinearDiscriminantAnalysis of two classes as the equal LogisticRegression.

    skl2onnx 1.20 converts the former wrongly.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    last = _last(estimator)
    if not isinstance(last, LinearDiscriminantAnalysis) or len(last.classes_) != 2:
        return estimator
    regression = LogisticRegression()
    for name in ("classes_", "coef_", "intercept_", "n_features_in_"):
        setattr(regression, name, getattr(last, name))
    return make_pipeline(*estimator[:-1], regression) if last is not estimator else regression


def _probes(estimator: Any) -> NDArray[np.float64]:
    """Made-up features, (n, n_dims), in the range that the pipeline's scaler was fitted on, if it has one."""
    values = np.random.default_rng(0).normal(size=(_N_PROBES, estimator.n_features_in_))
    scaler = estimator[0] if hasattr(estimator, "steps") else estimator
    scaled = scaler.inverse_transform(values) if hasattr(scaler, "inverse_transform") else values
    return np.asarray(scaled, np.float32).astype(np.float64)


def _prior_graph(estimator: Any) -> Any:
    """Graph of a DummyClassifier: class frequencies of the training clips, whatever the features are."""
    graph = Graph("frequencies")
    values = graph.input("values", np.float64, [1, "n_dims"])
    nothing = values.part(0, 0, axis=1).sum(1, keep=True)
    graph.output("answer", nothing + estimator.class_prior_[None], [1, "n_classes"])
    return graph.model()


def _approximation_graph(estimator: Any, name: str) -> Any:
    """Graph of what stands for an RBF machine of many clips, behind a StandardScaler or nothing."""
    from sklearn.preprocessing import StandardScaler

    *before, kernel, linear = estimator
    if not all(type(step) is StandardScaler for step in before):
        steps = " and ".join(type(step).__name__ for step in before)
        raise ExportError(f"{name}: an approximated RBF machine behind {steps} cannot be converted to ONNX")
    graph = Graph("machine")
    values = graph.input("values", np.float64, [1, "n_dims"])
    for scaler in before:
        values = values - (0 if scaler.mean_ is None else scaler.mean_)
        values = values / (1 if scaler.scale_ is None else scaler.scale_)
    gamma = 1 / kernel.components_.shape[1] if kernel.gamma is None else kernel.gamma
    weights = kernel.normalization_.T @ np.atleast_2d(linear.coef_).T
    decisions = rbf_kernel(values, kernel.components_, gamma) @ weights + linear.intercept_
    if len(linear.classes_) == 2:  # a column a class, as skl2onnx has it
        decisions = decisions * [[-1, 1]]
    graph.output("answer", decisions, [1, "n_columns"])
    return graph.model()


def _last(estimator: Any) -> Any:
    return estimator[-1] if hasattr(estimator, "steps") else estimator
