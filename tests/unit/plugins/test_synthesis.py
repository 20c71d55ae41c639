from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marsbench.data.labels import EMOTIONS
from marsbench_plugins.synthesis import PROSODY, SAMPLE_RATE, SENTENCES, Speaker, speak


def take(emotion: str, *, speaker: int = 1, seed: int = 0, sentence: str = SENTENCES[0]) -> NDArray[np.int16]:
    return speak(Speaker.draw(seed, speaker), emotion, sentence, np.random.default_rng(seed))


def level_db(samples: NDArray[np.int16]) -> float:
    return float(20 * np.log10(np.sqrt(np.mean((samples / 32768) ** 2))))


def share_above_2_khz(samples: NDArray[np.int16]) -> float:
    power = np.abs(np.fft.rfft(samples / 32768)) ** 2
    return float(power[np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE) > 2000].sum() / power.sum())


def mean_over_speakers(emotion: str, measure: str) -> float:
    measures = {"level": level_db, "brightness": share_above_2_khz, "length": len}
    return float(np.mean([measures[measure](take(emotion, speaker=number)) for number in range(1, 9)]))


def test_every_emotion_of_the_corpus_has_a_prosody() -> None:
    assert tuple(PROSODY) == EMOTIONS


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("emotion", EMOTIONS)
def test_every_sentence_can_be_spoken_in_every_emotion(emotion: str, sentence: str) -> None:
    samples = take(emotion, sentence=sentence)

    assert samples.dtype == np.int16
    assert 1.2 < len(samples) / SAMPLE_RATE < 4


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(EMOTIONS), st.integers(1, 500), st.integers(0, 10_000))
def test_no_voice_clips_or_is_silent(emotion: str, speaker: int, seed: int) -> None:
    samples = take(emotion, speaker=speaker, seed=seed)

    assert np.abs(samples.astype(int)).max() < 32_000
    assert level_db(samples) > -50


def test_equal_seeds_give_equal_samples() -> None:
    np.testing.assert_array_equal(take("happy"), take("happy"))


@pytest.mark.parametrize("other", [{"seed": 1}, {"speaker": 2}, {"sentence": SENTENCES[1]}])
def test_another_seed_speaker_or_sentence_gives_other_samples(other: dict[str, Any]) -> None:
    assert take("happy").tobytes() != take("happy", **other).tobytes()


@pytest.mark.parametrize(
    ("measure", "less", "more"),
    [
        ("level", "sad", "neutral"),
        ("level", "neutral", "angry"),
        ("brightness", "sad", "angry"),
        ("length", "fearful", "neutral"),
        ("length", "neutral", "sad"),
    ],
)
def test_emotions_differ_as_the_literature_reports(measure: str, less: str, more: str) -> None:
    assert mean_over_speakers(less, measure) < mean_over_speakers(more, measure)


def test_women_speak_higher_than_men_on_the_average() -> None:
    men, women = ([Speaker.draw(0, number).f0 for number in range(first, 40, 2)] for first in (1, 2))

    assert np.mean(women) > 1.4 * np.mean(men)


def test_a_voiced_vowel_repeats_at_the_pitch_of_its_speaker() -> None:
    speaker = Speaker.draw(0, 1)
    samples = speak(speaker, "neutral", SENTENCES[0], np.random.default_rng(0)) / 32768
    middle = samples[len(samples) // 2 - 2048 : len(samples) // 2 + 2048]
    lags = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    shortest, longest = (int(SAMPLE_RATE / (speaker.f0 * factor)) for factor in (1.5, 0.67))
    best = shortest + int(np.argmax(lags[shortest:longest]))

    assert lags[best] > 0.4 * lags[0]
