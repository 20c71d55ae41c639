"""Synthesise emotional nonsense speech, for a corpus that can be generated on any machine.

A source-filter model: a glottal pulse train (jitter, shimmer, open quotient, spectral tilt, aspiration) is
filtered by a cascade of formant resonators that move from vowel to vowel. Eight emotions differ in prosody
and voice quality as reported in the literature; speakers differ in voice and in how they express each
emotion; takes differ randomly. Parameters are chosen so that the classes overlap. No recorded speech is used,
and scores on this corpus are not meaningful for real speech.

Sources:
    Pulse: Klatt and Klatt (1990), JASA 87, 820-857. Formants of the vowels: Peterson and Barney (1952), JASA
    24, 175-184. Directions of the prosody: Scherer (2003), Speech Communication 40, 227-256; Juslin and
    Laukka (2003), Psychological Bulletin 129, 770-814.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

from marsbench.hashing import derived_seed

Array = NDArray[np.float64]

SAMPLE_RATE = 22_050
SENTENCES = ("sanitola kemuso", "tinomale kosula", "kamosuti lenosa")
"""Syllables of a consonant and a vowel; speakers may pause at a space."""

_BLOCK = 220  # samples with constant articulation, 10 ms
_SYLLABLE_SECONDS = 0.21
_SILENCE_SECONDS = (0.1, 0.25)
_LEVEL_DB = -27.0  # RMS of neutral speech, full scale = 0
_ROOM_DB = -68.0
_PEAK = 0.9
_ASPIRATION_DB = -24.0
_TILT_HZ = 900.0
_STRENGTH_SD = 0.12
_BANDWIDTHS = np.array([80.0, 90.0, 130.0, 200.0, 250.0])
_UPPER_FORMANTS = (3500.0, 4500.0)
_VOWELS = {
    "i": (270.0, 2290.0, 3010.0),
    "e": (530.0, 1840.0, 2480.0),
    "a": (730.0, 1090.0, 2440.0),
    "o": (570.0, 840.0, 2410.0),
    "u": (300.0, 870.0, 2240.0),
}
_CONSONANTS = {  # voicing, frication, start of the noise as a share of the syllable
    "s": (0.0, 0.25, 0.0),
    "t": (0.0, 0.4, 0.16),
    "k": (0.0, 0.3, 0.14),
    "n": (0.4, 0.0, 0.0),
    "m": (0.35, 0.0, 0.0),
    "l": (0.65, 0.0, 0.0),
}


class Prosody(NamedTuple):
    """Prosody and voice quality of an utterance, or a difference between two of them."""

    pitch: float = 0.0
    """Mean F0 relative to the speaker's, semitones."""
    span: float = 0.0
    """Size of the F0 accents, semitones."""
    slope: float = 0.0
    """F0 at the end relative to F0 at the start, semitones."""
    rise: float = 0.0
    """F0 movement on the last syllable, semitones."""
    tempo: float = 0.0
    """Speech rate, octaves."""
    level: float = 0.0
    """Loudness, dB."""
    brightness: float = 0.0
    """Corner frequency of the source's spectral tilt, octaves."""
    breath: float = 0.0
    """Aspiration noise, dB."""
    jitter: float = 0.0
    """Random variation of period (jitter) and amplitude (shimmer), octaves."""
    pause: float = 0.0
    """Pause between the phrases, seconds."""
    spread: float = 0.0
    """Formant frequencies, octaves: positive for spread lips (smile), negative for rounded ones."""


PROSODY: Mapping[str, Prosody] = {
    "neutral": Prosody(0.0, 1.5, -2.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.0),
    "calm": Prosody(-0.8, 1.2, -2.5, -1.0, -0.14, -2.5, -0.4, 3.5, -0.1, 0.1, 0.0),
    "happy": Prosody(4.0, 4.0, 0.0, 1.0, 0.14, 3.5, 0.6, -1.0, 0.0, 0.03, 0.1),
    "sad": Prosody(-1.5, 1.0, -4.0, -2.0, -0.22, -5.5, -1.0, 7.0, 0.5, 0.16, -0.05),
    "angry": Prosody(3.0, 3.5, -1.0, -3.0, 0.16, 7.0, 1.3, -5.0, 0.9, 0.0, -0.02),
    "fearful": Prosody(6.0, 1.8, 1.0, 0.0, 0.24, -0.5, 0.2, 6.0, 1.6, 0.08, 0.04),
    "disgust": Prosody(-1.5, 2.5, -3.0, -4.0, -0.14, 1.0, 0.3, 0.5, 1.6, 0.12, -0.1),
    "surprised": Prosody(7.0, 5.0, 2.0, 6.0, 0.03, 2.5, -0.2, 3.0, 0.1, 0.02, 0.02),
}
"""Mean prosody of each emotion, relative to the speaker's voice and habits."""

_VOICE_SD = Prosody(0.0, 0.4, 0.4, 0.4, 0.05, 1.4, 0.25, 1.3, 0.2, 0.02, 0.0)
_HABIT_SD = Prosody(1.3, 0.7, 1.0, 1.2, 0.06, 1.6, 0.3, 1.8, 0.4, 0.03, 0.02)
_TAKE_SD = Prosody(0.4, 0.3, 0.5, 0.5, 0.03, 0.5, 0.08, 0.5, 0.12, 0.02, 0.004)


@dataclass(frozen=True, slots=True)
class Speaker:
    """A synthetic voice and its way of expressing emotions."""

    f0: float
    """Mean fundamental frequency, Hz."""
    formant_scale: float
    """Formant frequencies relative to an average man's, which depend on the length of the vocal tract."""
    voice: Prosody
    """Difference to the mean in every utterance of this speaker."""
    habits: Mapping[str, Prosody]
    """Further difference by emotion."""

    @classmethod
    def draw(cls, seed: int, number: int) -> "Speaker":
        """Random speaker that depends on `seed` and `number`: odd numbers are men, even numbers women."""
        rng = np.random.default_rng(derived_seed(seed, "speaker", number))
        f0, semitones, scale = (115.0, 2.2, 1.0) if number % 2 else (205.0, 2.0, 1.16)
        return cls(
            f0=f0 * 2 ** (rng.normal(0, semitones) / 12),
            formant_scale=scale * 2 ** rng.normal(0, 0.05),
            voice=_scatter(Prosody(), _VOICE_SD, rng),
            habits={emotion: _scatter(Prosody(), _HABIT_SD, rng) for emotion in PROSODY},
        )


@dataclass(frozen=True, slots=True)
class _Gestures:
    """Articulation, one value per block of 10 ms."""

    f0: Array
    """Hz, (n_blocks,)."""
    voicing: Array
    """Amplitude, (n_blocks,)."""
    frication: Array
    """Amplitude, (n_blocks,)."""
    formants: Array
    """Hz, (n_blocks, 5)."""


def speak(speaker: Speaker, emotion: str, sentence: str, rng: np.random.Generator) -> NDArray[np.int16]:
    """One take of `sentence` as 16-bit mono samples (n_samples,) at `SAMPLE_RATE`, about 1.5 to 3 s long."""
    prosody = _prosody_of_take(speaker, emotion, rng)
    gestures = _articulate(sentence, speaker, prosody, rng)
    sound = _vocal_tract(_glottis(gestures, prosody, rng), gestures.formants)
    sound *= 1 / _rms(sound)
    sound += _frication(gestures.frication, rng)
    return _recorded(sound, _LEVEL_DB + prosody.level, rng)


def _scatter(centre: Prosody, spread: Prosody, rng: np.random.Generator) -> Prosody:
    return Prosody(*rng.normal(centre, spread))


def _prosody_of_take(speaker: Speaker, emotion: str, rng: np.random.Generator) -> Prosody:
    """Prosody of the emotion with random strength, plus the speaker's habits and variation of the take."""
    strength = np.clip(rng.normal(1, _STRENGTH_SD), 0.5, 1.5)
    parts = np.array([speaker.voice, speaker.habits[emotion], _scatter(Prosody(), _TAKE_SD, rng)])
    return Prosody(*(strength * np.array(PROSODY[emotion]) + parts.sum(axis=0)))


def _articulate(sentence: str, speaker: Speaker, prosody: Prosody, rng: np.random.Generator) -> _Gestures:
    syllables = [phrase[i : i + 2] for phrase in sentence.split() for i in range(0, len(phrase), 2)]
    first_phrase = len(sentence.partition(" ")[0]) // 2
    starts, lengths = _timing(len(syllables), first_phrase, prosody, rng)
    times = np.arange(0, starts[-1] + lengths[-1], _BLOCK / SAMPLE_RATE)
    scale = speaker.formant_scale * 2**prosody.spread
    return _Gestures(
        f0=speaker.f0 * 2 ** (_melody(times, starts, lengths, prosody, rng) / 12),
        voicing=_voicing(times, syllables, starts, lengths),
        frication=_noise_bursts(times, syllables, starts, lengths),
        formants=_vowel_glides(times, syllables, starts, lengths) * scale,
    )


def _timing(n: int, first_phrase: int, prosody: Prosody, rng: np.random.Generator) -> tuple[Array, Array]:
    """Start and length of each of `n` syllables in seconds; every second one and the last are lengthened."""
    lengths = _SYLLABLE_SECONDS * 2**-prosody.tempo * np.exp(rng.normal(0, 0.08, n))
    lengths[1::2] *= 1.1
    lengths[-1] *= 1.25
    starts = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    starts[first_phrase:] += max(0.0, prosody.pause)
    return starts, lengths


def _melody(times: Array, starts: Array, lengths: Array, prosody: Prosody, rng: np.random.Generator) -> Array:
    """F0 in semitones relative to the speaker's mean: declination, an accent per syllable, final movement."""
    accents = np.where(np.arange(len(starts)) % 2, 0.5, -0.5) + rng.normal(0, 0.35, len(starts))
    line = prosody.pitch + prosody.slope * (times / times[-1] - 0.5)
    accented = max(0.3, prosody.span) * np.interp(times, starts + 0.55 * lengths, accents)
    ending = np.clip((times - starts[-1]) / lengths[-1], 0, 1)
    return np.asarray(np.clip(line + accented + prosody.rise * ending, -14, 22))


def _voicing(times: Array, syllables: list[str], starts: Array, lengths: Array) -> Array:
    """Amplitude of the voice: low in consonants, high in vowels, zero at the end of a phrase."""
    low = np.array([_CONSONANTS[syllable[0]][0] for syllable in syllables])
    ends = np.append(starts[1:], np.inf) > starts + lengths + 1e-9
    last = np.where(ends, 0.0, np.append(low[1:], 0.0))
    shape = np.stack([low, low, np.ones_like(low), np.full_like(low, 0.85), last], axis=1)
    places = starts[:, None] + lengths[:, None] * np.array([0.0, 0.22, 0.36, 0.85, 0.999])
    return np.asarray(np.interp(times, places.ravel(), shape.ravel()))


def _noise_bursts(times: Array, syllables: list[str], starts: Array, lengths: Array) -> Array:
    """Amplitude of the noise of consonants."""
    _, peaks, waits = np.array([_CONSONANTS[syllable[0]] for syllable in syllables]).T
    places = np.stack([waits, np.full_like(waits, 0.2), np.full_like(waits, 0.32)], axis=1)
    shape = np.stack([np.zeros_like(peaks), peaks, np.zeros_like(peaks)], axis=1)
    times_of_shape = (starts[:, None] + lengths[:, None] * places).ravel()
    return np.asarray(np.interp(times, times_of_shape, shape.ravel()))


def _vowel_glides(times: Array, syllables: list[str], starts: Array, lengths: Array) -> Array:
    """Formants of an average man in Hz, (n_blocks, 5)."""
    targets = np.array([(*_VOWELS[syllable[1]], *_UPPER_FORMANTS) for syllable in syllables])
    places = (starts[:, None] + lengths[:, None] * np.array([0.35, 0.8])).ravel()
    return np.stack([np.interp(times, places, np.repeat(track, 2)) for track in targets.T], axis=1)


def _glottis(gestures: _Gestures, prosody: Prosody, rng: np.random.Generator) -> Array:
    """Derivative of the glottal flow with aspiration noise, (n_blocks * 220,)."""
    cycles = _cycles(_to_samples(gestures.f0), 0.008 * 2**prosody.jitter, rng)
    shimmer = np.exp(rng.normal(0, 0.04 * 2**prosody.jitter, int(cycles[-1]) + 1))[cycles.astype(int)]
    openness = float(np.clip(0.6 - 0.08 * prosody.brightness + 0.02 * prosody.breath, 0.35, 0.85))
    phase = cycles % 1 / openness
    pulses = np.where(phase < 1, 2 * phase - 3 * phase**2, 0.0) * shimmer
    corner = np.exp(-2 * np.pi * _TILT_HZ * 2**prosody.brightness / SAMPLE_RATE)
    tilted = lfilter([1 - corner], [1, -corner], pulses)
    noise = rng.normal(0, 10 ** ((_ASPIRATION_DB + prosody.breath) / 20), len(pulses))
    breathy = tilted / _rms(tilted) + np.where(phase < 1, 1.0, 0.4) * noise
    return np.asarray(breathy * _to_samples(gestures.voicing))


def _cycles(f0: Array, jitter: float, rng: np.random.Generator) -> Array:
    """Number of glottal cycles completed at each sample; each period deviates randomly."""
    regular = np.cumsum(f0 / SAMPLE_RATE)
    factors = 1 + np.clip(rng.normal(0, jitter, int(regular[-1]) + 1), -0.2, 0.2)
    return np.cumsum(f0 * factors[regular.astype(int)] / SAMPLE_RATE)


def _vocal_tract(source: Array, formants: Array) -> Array:
    """Filter block by block, keeping the state of the resonators between blocks."""
    radius = np.exp(-np.pi * _BANDWIDTHS / SAMPLE_RATE)
    middle = -2 * radius * np.cos(2 * np.pi * formants / SAMPLE_RATE)
    sections = np.zeros((*formants.shape, 6))
    sections[..., 0] = 1 + middle + radius**2  # no gain at 0 Hz
    sections[..., 3:] = np.stack([np.ones_like(middle), middle, np.broadcast_to(radius**2, middle.shape)], -1)
    state = np.zeros((formants.shape[1], 2))
    blocks = []
    for block, section in zip(source.reshape(-1, _BLOCK), sections, strict=True):
        filtered, state = sosfilt(section, block, zi=state)
        blocks.append(filtered)
    return np.concatenate(blocks)


def _frication(amplitude: Array, rng: np.random.Generator) -> Array:
    hiss = butter(2, 2500, "high", fs=SAMPLE_RATE, output="sos")
    return np.asarray(sosfilt(hiss, rng.normal(size=len(amplitude) * _BLOCK)) * _to_samples(amplitude))


def _recorded(sound: Array, level: float, rng: np.random.Generator) -> NDArray[np.int16]:
    """16-bit samples at `level` dB re full scale, not clipped, with silence around and background noise."""
    gain = min(10 ** (level / 20) / _rms(sound), _PEAK / float(np.abs(sound).max()))
    before, after = (rng.uniform(*_SILENCE_SECONDS, 2) * SAMPLE_RATE).astype(int)
    whole = np.pad(gain * sound, (before, after))
    whole += rng.normal(0, 10 ** (_ROOM_DB / 20), len(whole))
    return np.round(whole * 32767).astype(np.int16)


def _to_samples(blocks: Array) -> Array:
    """Linear interpolation of block values to samples."""
    places = np.arange(len(blocks)) * float(_BLOCK)
    return np.interp(np.arange(len(blocks) * _BLOCK), places, blocks)


def _rms(sound: Array) -> float:
    return float(np.sqrt(np.mean(sound**2)))
