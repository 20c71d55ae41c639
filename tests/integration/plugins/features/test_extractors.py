import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsbench.data.audio import load
from marsbench.errors import ConfigError
from marsbench.plugin.features import FeatureExtractor, Floats
from marsbench_plugins.features.functionals import Functionals
from marsbench_plugins.features.log_mel import LogMel
from marsbench_plugins.features.mfcc import Mfcc
from marsbench_plugins.features.mfcc_chroma_contrast import MfccChromaContrast
from marsbench_plugins.features.prosody import Prosody
from marsbench_plugins.spectrum import Spectrum

RATE = 22_050
Voice = Callable[[float, float, int], Floats]

every_extractor = pytest.mark.parametrize("plugin", [MfccChromaContrast, Mfcc, LogMel, Functionals, Prosody])
every_frame_extractor = pytest.mark.parametrize(
    ("plugin", "n_dims"), [(MfccChromaContrast, 59), (Mfcc, 40), (LogMel, 128)]
)


@every_frame_extractor
@given(n_samples=st.integers(2205, 6 * RATE))
@settings(max_examples=15, deadline=None)
def test_frames_cover_what_is_heard_of_a_clip(
    voice: Voice, plugin: type[FeatureExtractor], n_dims: int, n_samples: int
) -> None:
    start = min(11_025, n_samples - 2048)
    heard = min(n_samples - start, 4 * RATE)
    values = plugin().checked_extract(voice(6.0, 200, 0)[:n_samples], RATE)
    assert values.shape == (1 + heard // 512, n_dims)


@given(n_samples=st.integers(2205, 6 * RATE))
@settings(max_examples=15, deadline=None)
def test_functionals_have_one_length_for_every_clip(voice: Voice, n_samples: int) -> None:
    values = Functionals().checked_extract(voice(6.0, 200, 0)[:n_samples], RATE)
    assert values.shape == (9 * (59 + 128),)


@every_extractor
@pytest.mark.parametrize("n_samples", [2205, 11_100, 60_000])
def test_the_clip_is_not_modified_and_gives_the_same_again(
    voice: Voice, plugin: type[FeatureExtractor], n_samples: int
) -> None:
    samples = voice(3.0, 130, 4)[:n_samples]
    samples.flags.writeable = False
    first = plugin().extract(samples, RATE)
    np.testing.assert_array_equal(first, plugin().extract(samples.copy(), RATE))


@every_extractor
@pytest.mark.parametrize("normalisation", ["clip", "dimension", "none"])
def test_a_clip_that_is_silent_where_it_is_heard_gives_finite_features(
    plugin: type[FeatureExtractor], normalisation: str
) -> None:
    samples = np.eye(1, 40_000, 100, dtype=np.float32)[0]
    options = {} if plugin in (Functionals, Prosody) else {"normalisation": normalisation}
    assert np.isfinite(plugin.create(options).checked_extract(samples, RATE)).all()


@every_frame_extractor
def test_a_clip_is_normalised_by_one_mean_and_one_deviation(
    voice: Voice, plugin: type[FeatureExtractor], n_dims: int
) -> None:
    samples = voice(3.0, 130, 4)
    raw = plugin.create({"normalisation": "none"}).extract(samples, RATE)
    values = plugin().extract(samples, RATE)
    assert raw.shape[1] == n_dims
    np.testing.assert_allclose(values, (raw - raw.mean()) / raw.std(), atol=1e-3)


def test_normalising_by_dimension_erases_every_mean(voice: Voice) -> None:
    values = Mfcc(normalisation="dimension").extract(voice(3.0, 130, 4), RATE)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-4)


def test_a_dimension_that_never_varies_becomes_zero() -> None:
    values = LogMel(normalisation="dimension").extract(np.eye(1, 40_000, 100, dtype=np.float32)[0], RATE)
    assert not values.any()


def test_only_the_stretch_from_offset_for_duration_is_heard(voice: Voice) -> None:
    samples = voice(3.0, 130, 4)
    whole = Mfcc(offset=1.0, duration=0.5).extract(samples, RATE)
    cut = Mfcc(offset=0.0).extract(samples[RATE : RATE + RATE // 2], RATE)
    np.testing.assert_array_equal(whole, cut)


def test_a_short_clip_is_heard_from_one_window_before_its_end(voice: Voice) -> None:
    samples = voice(0.4, 130, 4)
    tail = Mfcc(offset=0.0).extract(samples[-2048:], RATE)
    np.testing.assert_array_equal(Mfcc().extract(samples, RATE), tail)


def test_no_more_than_n_frames_are_returned(voice: Voice) -> None:
    assert Mfcc(n_frames=10).checked_extract(voice(3.0, 130, 4), RATE).shape == (10, 40)


@pytest.mark.parametrize(("bits", "lowest"), [(8, 1 / 128), (16, 1 / 32768)])
def test_what_the_format_cannot_hold_is_not_heard(bits: int, lowest: float) -> None:
    extractor = LogMel.create({"bits": bits, "normalisation": "none"})
    sound = np.eye(1, 40_000, 20_000, dtype=np.float32)[0]
    hum = np.full_like(sound, 0.4 * lowest)
    np.testing.assert_array_equal(extractor.extract(sound + hum, RATE), extractor.extract(sound, RATE))


def test_functionals_hold_the_means_first_and_the_highest_percentile_last(voice: Voice) -> None:
    samples = np.round(voice(1.0, 130, 4) * 32768) / np.float32(32768)
    values = Functionals(percentiles=[50, 100]).extract(samples, RATE).reshape(6, 187)
    log_mel = Spectrum(samples, RATE).log_mel()
    np.testing.assert_allclose(values[0, 59:], log_mel.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(values[5, 59:], log_mel.max(axis=0), atol=1e-3)


def test_the_default_percentiles_are_shown_as_a_list() -> None:
    assert Functionals.parameter_defaults()["percentiles"] == [5, 25, 50, 75, 95]


def test_functionals_of_a_single_frame_have_no_deviation() -> None:
    values = Functionals(hop_length=4096).extract(np.ones(2205, np.float32), RATE).reshape(9, 187)
    assert not values[1:4].any()


@pytest.mark.parametrize(
    ("plugin", "parameters", "message"),
    [
        (Mfcc, {"normalisation": "clips"}, "one of clip, dimension, none, not 'clips'"),
        (Mfcc, {"n_mfcc": 129}, "n_mfcc must be a whole number from 1 to 128, not 129"),
        (Mfcc, {"hop_length": 0}, "hop_length must be a whole number of at least 1"),
        (Mfcc, {"n_fft": 2047}, "n_fft must be even"),
        (Mfcc, {"offset": -0.1}, "offset must lie from 0 to 300 seconds"),
        (Mfcc, {"offset": math.nan}, "offset must lie from 0 to 300 seconds"),
        (Mfcc, {"duration": 0.05}, "duration must lie from 0.0929 to 300 seconds"),
        (LogMel, {"n_mels": 0}, "n_mels must be a whole number"),
        (LogMel, {"bits": 32}, "bits must be a whole number from 1 to 24"),
        (MfccChromaContrast, {"sample_rate": 8000}, "sample_rate above 12800"),
        (Functionals, {"percentiles": [5, 101]}, "percentiles must lie from 0 to 100, not 101"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(
    plugin: type[FeatureExtractor], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plugin.create(parameters)


@pytest.mark.parametrize("plugin", [MfccChromaContrast, Mfcc, LogMel])
def test_a_48_khz_original_has_the_features_of_its_resampled_file(
    ravdess: Path, ravdess_48k: Path, plugin: type[FeatureExtractor]
) -> None:
    originals = sorted(ravdess_48k.rglob("*.wav"))
    twins = [next(ravdess.glob(f"*/Actor_*/{original.stem}.flac")) for original in originals]
    both = [
        [plugin().extract(load(path, RATE).samples, RATE) for path in paths] for paths in (originals, twins)
    ]
    differences = np.abs(np.concatenate(both[0]) - np.concatenate(both[1]))
    assert len(originals) > 0
    assert np.median(differences) < 1e-6
    assert differences.max() < 0.03  # of one standard deviation: a few samples lie on a rounding edge
