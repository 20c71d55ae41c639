import json
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest

from marsbench.deployment.formats.onnx import end_to_end, pipeline_probabilities
from marsbench.errors import ExportError
from marsbench.plugin.features import FeatureExtractor, Floats, pad
from marsbench.plugin.model import Examples, FitContext, Model
from marsbench.plugin.onnx import Graph
from marsbench.plugin.search_space import Defaults
from marsbench.plugin.sklearn import SklearnModel
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.mfcc import Mfcc
from marsbench_plugins.features.mfcc_chroma_contrast import MfccChromaContrast
from marsbench_plugins.models.logistic_regression import LogisticRegression
from marsbench_plugins.models.pca_lda import PcaLda
from marsbench_plugins.models.random_forest import RandomForest
from marsbench_plugins.models.svm import Svm

pytest.importorskip("skl2onnx", reason="skl2onnx, of the extra export, is not installed")
runtime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime, of the extra export, is not installed")

RATE = 22_050
LABELS = ["low", "höher", "high"]


@dataclass
class Energy(FeatureExtractor):
    """Mean square of a clip, whose graph can be made another one."""

    kind = "vector"
    graph_scale: float = 1.0
    output: str = "features"

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:  # noqa: ARG002 - fixed by the contract
        return np.asarray(np.mean(waveform**2, keepdims=True))

    def onnx_graph(self) -> Any:
        graph = Graph("energy")
        waveform = graph.input("waveform", np.float32, ["n_samples"])
        graph.output(self.output, (waveform * waveform).mean(0, keep=True) * self.graph_scale, [1])
        return graph.model()


class WithoutGraph(Energy):
    onnx_graph = FeatureExtractor.onnx_graph


def tone(number: int) -> Floats:
    """Of one of three pitches and loudnesses, in noise; each of its own length."""
    random = np.random.default_rng(number)
    seconds = np.arange(random.integers(4000, 3 * RATE)) / RATE
    pitch = (150, 400, 1000)[number % 3] * random.uniform(0.8, 1.2)
    samples = (0.1 + number % 3 * 0.2) * np.sin(2 * np.pi * pitch * seconds)
    return (samples + random.normal(0, 0.02, len(seconds))).astype(np.float32)


CLIPS = [tone(number) for number in range(30)]


def fitted(extractor: FeatureExtractor, model: Model | None = None) -> Model:
    features = pad([extractor.extract(clip, extractor.sample_rate) for clip in CLIPS], None).pooled()
    return (model or Svm()).fit(Examples(features, np.arange(30) % 3), Defaults({}), FitContext(3, 0))


@pytest.mark.parametrize("extractor", [Energy(), Mfcc(), MfccChromaContrast(), Functionals()])
def test_a_file_answers_what_its_pipeline_does(extractor: FeatureExtractor) -> None:
    model = fitted(extractor)
    file = end_to_end(extractor, model, LABELS).SerializeToString()
    session = runtime.InferenceSession(file)
    for clip in map(tone, range(30, 40)):
        answer = session.run(["probabilities"], {"waveform": clip})[0]
        assert (answer.dtype, answer.shape) == (np.float32, (3,))
        np.testing.assert_allclose(answer, pipeline_probabilities(extractor, model, clip), atol=1e-4)


@pytest.mark.parametrize("classifier", [LogisticRegression(), PcaLda(), RandomForest()])
def test_a_file_has_the_temperature_of_a_model_with_probabilities(classifier: SklearnModel) -> None:
    extractor = Mfcc()
    model = cast("SklearnModel", fitted(extractor, classifier))
    assert model.temperature_ is not None
    assert abs(model.temperature_ - 1) > 0.01
    session = runtime.InferenceSession(end_to_end(extractor, model, LABELS).SerializeToString())
    for clip in map(tone, range(30, 40)):
        answer = session.run(["probabilities"], {"waveform": clip})[0]
        np.testing.assert_allclose(answer, pipeline_probabilities(extractor, model, clip), atol=1e-4)


def test_a_file_tells_what_it_wants_and_what_its_answer_means() -> None:
    extractor = Mfcc(sample_rate=16_000)
    file = end_to_end(extractor, fitted(extractor), LABELS).SerializeToString()
    session = runtime.InferenceSession(file)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["labels"]) == LABELS
    assert (facts["sample_rate"], set(facts)) == ("16000", {"labels", "sample_rate", "marsbench"})
    assert [(end.name, end.type, end.shape) for end in session.get_inputs()] == [
        ("waveform", "tensor(float)", ["n_samples"])
    ]


def test_a_file_holds_no_operators_but_standard_ones() -> None:
    extractor = MfccChromaContrast()
    file = end_to_end(extractor, fitted(extractor), LABELS)
    assert {entry.domain for entry in file.opset_import} == {"", "ai.onnx.ml"}


def test_an_extractor_without_a_graph_is_refused() -> None:
    with pytest.raises(ExportError, match="has no ONNX graph"):
        end_to_end(WithoutGraph(), fitted(Energy()), LABELS)


def test_a_graph_with_other_names_is_refused() -> None:
    with pytest.raises(ExportError, match="waveform and features are needed"):
        end_to_end(Energy(output="energy"), fitted(Energy()), LABELS)


def test_a_graph_that_computes_something_else_is_refused() -> None:
    extractor = Energy()
    with pytest.raises(ExportError, match="gives other probabilities than the pipeline"):
        end_to_end(replace(extractor, graph_scale=3.0), fitted(extractor), LABELS, CLIPS)
