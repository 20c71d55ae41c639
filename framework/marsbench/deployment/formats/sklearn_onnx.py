"""A scikit-learn classifier as an ONNX graph."""

import warnings
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from marsbench.environment import import_extra
from marsbench.errors import ExportError
from marsbench.plugin.onnx import OPSET, Graph, import_onnx, onnx_session

_LEARNERS = "ai.onnx.ml"
_LEARNERS_OPSET = 3
_TOLERANCE = 1e-3
_N_PROBES = 32
_LEGIBLE = 120
"""Characters of a reason that a user may make something of."""


class EstimatorGraph(NamedTuple):
    """A graph of one input, (1, n_dims), whose last output has a row of scores or probabilities."""

    model: Any
    kind: DTypeLike
    """Of the input."""
    answer_kind: DTypeLike


def estimator_graph(estimator: Any, name: str) -> EstimatorGraph:
    """Probabilities, or else decision values, of a fitted classifier; for two classes in two columns.

    skl2onnx's graphs are not always right (version 1.20: two classes of a CalibratedClassifierCV), or cannot
    run in double precision. The first that answers what the estimator does is taken.

    Raises:
        ExportError: there is none.
    """
    from sklearn.dummy import DummyClassifier

    if isinstance(estimator, DummyClassifier) and estimator.strategy == "prior":
        return _frequencies(estimator)
    import_onnx()
    estimator = _with_regression(estimator)
    problem = ""
    for kind, is_mapped in product((np.float64, np.float32), (True, False)):
        try:
            graph = _converted(estimator, kind, is_mapped=is_mapped)
            if _is_right(graph, estimator):
                return graph
            problem = problem or "its graph answers something else"
        except ExportError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever skl2onnx and onnxruntime raise for a model
            problem = problem or str(error).strip().partition("\n")[0]
    what = type(_last(estimator)).__name__
    reason = f": {problem}" if len(problem) <= _LEGIBLE else ""  # some name every number of the model
    raise ExportError(f"{name}: skl2onnx makes no ONNX graph of a {what}{reason}")


def _converted(estimator: Any, kind: DTypeLike, *, is_mapped: bool) -> EstimatorGraph:
    kinds = import_extra("skl2onnx.common.data_types", "export")
    tensor = kinds.DoubleTensorType if kind is np.float64 else kinds.FloatTensorType
    options = {} if hasattr(estimator, "predict_proba") else {"raw_scores": True}
    if is_mapped:  # only an estimator that would answer a dictionary can be told to answer an array
        options["zipmap"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks at everything deprecated in scikit-learn
        model = import_extra("skl2onnx", "export").to_onnx(
            estimator,
            initial_types=[("values", tensor([None, estimator.n_features_in_]))],
            options={id(_last(estimator)): options},  # a pipeline does not pass its own on
            target_opset={"": OPSET, _LEARNERS: _LEARNERS_OPSET},
        )
    answer_kind = import_onnx().helper.tensor_dtype_to_np_dtype(
        model.graph.output[-1].type.tensor_type.elem_type
    )
    return EstimatorGraph(model, kind, answer_kind)


def _is_right(graph: EstimatorGraph, estimator: Any) -> bool:
    """Whether the graph answers what the estimator does, on made values."""
    values = _probes(estimator).astype(graph.kind)
    session = onnx_session(graph.model.SerializeToString(), "export")
    answer = session.run(None, {"values": values})[-1]
    ask = getattr(estimator, "predict_proba", None) or estimator.decision_function
    wanted = ask(values.astype(np.float64))
    answer = answer[:, -1] if wanted.ndim == 1 else answer
    return answer.shape == wanted.shape and bool(np.allclose(answer, wanted, _TOLERANCE, _TOLERANCE))


def _with_regression(estimator: Any) -> Any:
    """A LinearDiscriminantAnalysis of two classes as the logistic regression that it is.

    skl2onnx 1.20 makes a wrong graph of it.
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
    """Values as the estimator may have been fitted on, as far as its scaler tells, (n, n_dims)."""
    values = np.random.default_rng(0).normal(size=(_N_PROBES, estimator.n_features_in_))
    scaler = estimator[0] if hasattr(estimator, "steps") else estimator
    scaled = scaler.inverse_transform(values) if hasattr(scaler, "inverse_transform") else values
    return np.asarray(scaled, np.float32).astype(np.float64)


def _frequencies(estimator: Any) -> EstimatorGraph:
    """Those of the training clips, whatever the values are."""
    graph = Graph("frequencies")
    values = graph.input("values", np.float64, [1, "n_dims"])
    nothing = values.part(0, 0, axis=1).sum(1, keep=True)
    graph.output("answer", nothing + estimator.class_prior_[None], [1, "n_classes"])
    return EstimatorGraph(graph.model(), np.float64, np.float64)


def _last(estimator: Any) -> Any:
    return estimator[-1] if hasattr(estimator, "steps") else estimator
