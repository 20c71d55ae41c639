"""Arrays of features, their padding and pooling, and what extract may return."""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.errors import PluginError
from marsbench.plugin.features import FeatureExtractor, FeatureKind, Features, Floats, pad

Lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def clips(lengths: list[int]) -> list[Floats]:
    random = np.random.default_rng(sum(lengths))
    return [random.normal(size=(length, 3)).astype(np.float32) for length in lengths]


class Given(FeatureExtractor):
    """Returns what it was told to."""

    kind: ClassVar[FeatureKind] = "frames"
    n_frames = 4
    answer: object = None

    def extract(self, waveform: Floats, sample_rate: int) -> Floats:  # noqa: ARG002 - deaf
        return self.answer  # type: ignore[return-value]  # what a plugin should not do


class GivenVector(Given):
    """The same for vectors."""

    kind: ClassVar[FeatureKind] = "vector"


def checked(extractor: Given, answer: object) -> Floats:
    extractor.answer = answer
    return extractor.checked_extract(np.ones(2205, np.float32), 22_050)


@pytest.mark.parametrize(
    ("extractor", "answer", "message"),
    [
        (Given(), np.ones((3, 2)), "float64; a float32 array"),
        (Given(), [[1.0]], "list; a float32 array"),
        (Given(), np.ma.masked_invalid(np.full((3, 2), np.nan, np.float32)), "a masked array"),
        (Given(), np.ones(3, np.float32), r"shape \(3,\); \(n_frames, n_dims\)"),
        (Given(), np.ones((0, 2), np.float32), r"shape \(0, 2\)"),
        (Given(), np.ones((5, 2), np.float32), "5 frames; the maximum is n_frames=4"),
        (Given(), np.full((3, 2), np.nan, np.float32), "NaN or infinite"),
        (Given(), np.full((3, 2), np.inf, np.float32), "NaN or infinite"),
        (GivenVector(), np.ones((3, 2), np.float32), r"shape \(3, 2\); \(n_dims,\)"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_refused(
    extractor: Given, answer: object, message: str
) -> None:
    with pytest.raises(PluginError, match=f"^test_features.extract returned .*{message}"):
        checked(extractor, answer)


@pytest.mark.parametrize(("extractor", "shape"), [(Given(), (4, 2)), (GivenVector(), (7,))])
def test_an_answer_that_keeps_it_is_passed_on(extractor: Given, shape: tuple[int, ...]) -> None:
    answer = np.ones(shape, np.float32)
    np.testing.assert_array_equal(checked(extractor, answer), answer)


@given(Lengths)
def test_real_frames_survive_padding_and_the_rest_is_zero(lengths: list[int]) -> None:
    arrays = clips(lengths)
    features = pad(arrays, None)
    assert features.input_shape == (max(lengths), 3)
    assert np.array_equal(features.values[features.is_real], np.concatenate(arrays))
    assert not features.values[~features.is_real].any()


@given(Lengths, st.integers(9, 20))
def test_pooling_is_the_mean_of_real_frames_however_long_the_padding(
    lengths: list[int], n_frames: int
) -> None:
    arrays = clips(lengths)
    pooled = pad(arrays, n_frames).pooled()
    assert pooled.kind == "vector"
    assert np.allclose(pooled.values, [array.mean(axis=0) for array in arrays], atol=1e-6)


def test_vectors_are_stacked_and_pool_to_themselves() -> None:
    features = pad([np.ones(3, np.float32), np.zeros(3, np.float32)], None)
    assert (features.kind, features.input_shape, len(features)) == ("vector", (3,), 2)
    assert features.pooled() is features


@pytest.mark.parametrize("rows", [[0], [2, 0], []])
def test_rows_are_clips(rows: list[int]) -> None:
    chosen: NDArray[np.int64] = np.array(rows, np.int64)
    features = pad(clips([3, 1, 5]), 6)
    part: Features = features[chosen]
    assert np.array_equal(part.values, features.values[chosen])
    assert part.lengths.tolist() == [[3, 1, 5][row] for row in rows]


@pytest.mark.parametrize("kind", [Given, GivenVector])
def test_what_is_returned_does_not_change_with_the_extractors_own_array(kind: type[Given]) -> None:
    buffer = np.ones((3, 2) if kind is Given else 3, np.float32)
    first = checked(kind(), buffer)
    buffer[...] = 7

    assert (first == 1).all()
