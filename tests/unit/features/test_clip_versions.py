"""Changed versions of a clip: what they are, that they are the same everywhere, and extracted once."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from marsbench.config import Versions
from marsbench.data.audio import Waveform
from marsbench.data.audio_validation import check_audio
from marsbench.features.clip_versions import names_of, version_of
from marsbench.features.extraction import Extracted, Extraction, run_here
from marsbench.features.feature_file import FeatureFile
from marsbench.features.store import stored_features
from marsbench.plugin.registry import discover
from marsbench.progress import Silent

ALL = Versions(kinds=("speed", "pitch", "vtl", "room", "noise"))
NAMES = names_of(ALL)
RATE = 16_000


def voice(pitch: float = 120.0, formant: float = 1500.0, seconds: float = 1.0) -> Waveform:
    """Harmonics of a pitch under one formant 300 Hz wide."""
    times = np.arange(round(seconds * RATE)) / RATE
    harmonics = np.arange(pitch, RATE / 2, pitch)
    strengths = np.exp(-(((harmonics - formant) / 300) ** 2))
    samples = (strengths[:, None] * np.sin(2 * np.pi * harmonics[:, None] * times)).sum(axis=0)
    return Waveform(samples.astype(np.float32), RATE)


def spectrum(clip: Waveform) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and power."""
    power = np.abs(np.fft.rfft(clip.samples * np.hanning(len(clip.samples)))) ** 2
    return np.linspace(0, RATE / 2, len(power)), power


def formant_of(clip: Waveform) -> float:
    """Mean frequency, weighted by power."""
    frequencies, power = spectrum(clip)
    return float((frequencies * power).sum() / power.sum())


def pitch_of(clip: Waveform) -> float:
    """Distance of the harmonics in Hz: the peak of the autocorrelation between 60 and 300 Hz."""
    power = spectrum(clip)[1]
    periods = np.fft.irfft(power)[RATE // 300 : RATE // 60]
    return RATE / (RATE // 300 + int(periods.argmax()))


@pytest.mark.parametrize(
    ("name", "length", "pitch", "formant"),
    [
        ("speed 0.9", 1 / 0.9, 0.9, 0.9),
        ("speed 1.1", 1 / 1.1, 1.1, 1.1),
        ("pitch -2", 1.0, 2 ** (-2 / 12), 2 ** (-2 / 12)),
        ("pitch 2", 1.0, 2 ** (2 / 12), 2 ** (2 / 12)),
        ("vtl 0.9", 1.0, 1.0, 0.9),
        ("vtl 1.1", 1.0, 1.0, 1.1),
    ],
)
def test_speed_pitch_and_vocal_tract_change_what_they_say_and_nothing_else(
    name: str, length: float, pitch: float, formant: float
) -> None:
    clip = voice()
    changed = version_of(clip, name)
    assert len(changed.samples) == pytest.approx(length * len(clip.samples), abs=2)
    assert pitch_of(changed) / pitch_of(clip) == pytest.approx(pitch, rel=0.02)
    assert formant_of(changed) / formant_of(clip) == pytest.approx(formant, rel=0.03)


def test_a_room_goes_on_after_a_click_and_noise_is_heard_below_the_voice() -> None:
    click = Waveform(np.eye(1, RATE, 100, dtype=np.float32)[0], RATE)
    heard = version_of(click, "room").samples
    early, late = (np.square(heard[a:b]).sum() for a, b in ((200, 3000), (3000, 12_000)))
    assert early > late > 0
    clip = voice()
    noise = version_of(clip, "noise").samples - clip.samples
    ratio = 10 * np.log10(np.square(clip.samples).mean() / np.square(noise).mean())
    assert 5 <= ratio <= 20


@pytest.mark.parametrize("name", NAMES)
def test_a_version_depends_on_its_samples_alone(name: str) -> None:
    clip, other = voice(), voice(pitch=130)
    first = version_of(clip, name)
    version_of(other, name)
    np.random.seed(3)  # noqa: NPY002 - the global generator must not matter
    assert np.array_equal(first.samples, version_of(voice(), name).samples)
    assert not np.array_equal(first.samples, version_of(other, name).samples)
    assert np.array_equal(clip.samples, voice().samples)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate", [1000, 8000, 48_000])
def test_a_version_of_the_shortest_clip_can_be_used(name: str, rate: int) -> None:
    samples = np.random.default_rng(0).standard_normal(rate // 10).astype(np.float32)
    for quiet in (1.0, 1e-17):
        changed = version_of(Waveform(quiet * samples, rate), name)
        assert changed.samples.dtype == np.float32
        assert changed.seconds >= 0.1
        assert np.isfinite(changed.samples).all()
        assert changed.peak > 0


@pytest.fixture
def extracted(kit: Path) -> Callable[..., tuple[FeatureFile, list[str]]]:
    """Features of the tones and some versions, and the names of the versions that were extracted."""
    registry = discover((kit,))
    corpus = check_audio(registry.get("datasets", "tones").plugin.create({}).load(), "fail", Silent())  # type: ignore[attr-defined]

    def make(features: str, *kinds: str) -> tuple[FeatureFile, list[str]]:
        done: list[str] = []

        def run_all(extractions: Iterable[Extraction]) -> Iterator[Extracted]:
            for extraction in extractions:
                done.append(extraction.version)
                yield from run_here([extraction])

        recipe = registry.get("features", features).recipe({})
        versions = Versions.model_validate({"kinds": kinds}) if kinds else None
        return stored_features(corpus, recipe, (kit,), versions, run_all=run_all), done

    return make


def test_each_version_is_extracted_once_beside_the_clips_which_stay_as_they_are(
    extracted: Callable[..., tuple[FeatureFile, list[str]]],
) -> None:
    clips, done = extracted("crossings")
    assert set(done) == {""}
    speed, done = extracted("crossings", "speed")
    assert set(done) == {"speed 0.9", "speed 1.1"}
    assert extracted("crossings", "speed", "noise")[1] == ["noise"] * len(set(done))
    assert extracted("crossings", "speed", "noise")[1] == []
    assert (clips.path, clips.versions) == (speed.path, ())
    assert [version.clips for version in speed.versions] == [clips.clips] * 2
    slow, fast = (version.read(range(5)).values for version in speed.versions)
    assert np.allclose(slow / 0.9, fast / 1.1, rtol=0.05)


def test_frames_of_slower_versions_are_cut_to_the_longest_clips_shape(
    extracted: Callable[..., tuple[FeatureFile, list[str]]],
) -> None:
    file, _ = extracted("blocks", "speed")
    slow, fast = file.versions_of([0, 3])
    assert slow.values.shape == fast.values.shape == (2, *file.input_shape)
    assert (fast.lengths < slow.lengths).all()
