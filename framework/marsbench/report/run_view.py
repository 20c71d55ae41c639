"""One run in detail: the content of every section, or a line on why there is none.

Among it the clips that it is most wrong about, and its scores by speaker and by any attribute.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile
from markupsafe import Markup

from marsbench.config import Criteria
from marsbench.data.audio import Waveform, resample
from marsbench.data.audio_validation import known_facts
from marsbench.data.corpus import AudioFacts, Clip
from marsbench.data.segments import read_clip
from marsbench.errors import AudioError, BenchError, ResultsError
from marsbench.evaluation.by_group import SpeakerScores, ValueScores, by_attributes, by_speaker
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.predictions import Predictions
from marsbench.evaluation.scores import Grade, Outcome, grade, verdict
from marsbench.planning.plans import Source, listed_sources
from marsbench.plugin.registry import discover
from marsbench.report.charts import (
    RATE,
    Calibration,
    LearningCurves,
    calibration,
    draw_spectrogram,
    learning_curves,
)
from marsbench.report.phrases import by_reason, fold_numbers, power_sentence
from marsbench.report.tuning_charts import TuningCharts, tuning_charts
from marsbench.results.predictions import read_predictions
from marsbench.results.reproduce import Reproduction, reproduce
from marsbench.results.row import Row
from marsbench.results.schema import CorpusRecord, Run
from marsbench.results.store import RunFolder

MOST_SPEAKERS = 100
"""Speakers in the table; beyond as many, the plot of recalls leaves them out."""
_MAX_BYTES = 40_000
_MAX_SECONDS = 12
_COMPRESSIONS = (0.6, 0.8, 1.0)
_BLOCK = RATE
"""Samples encoded per call: libsndfile's Vorbis encoder allocates its stack for each call."""


@dataclass(frozen=True)
class Misclassified:
    """A clip whose most probable class is not its true one."""

    clip: str
    speaker: str | None
    label: str
    predicted: str
    probability: float
    """Probability of the predicted class."""
    of_truth: float
    """Probability of the true class."""


def most_misclassified(predictions: Predictions, n_clips: int = 10) -> list[Misclassified]:
    """The clips with the highest probability of a wrong class, the most probable first."""
    targets, predicted, labels = predictions.targets, predictions.predicted, predictions.labels
    sureness = np.where(predictions.correct, -1.0, predictions.probabilities.max(axis=1))
    rows = [int(row) for row in np.argsort(-sureness, kind="stable")[:n_clips] if sureness[row] >= 0]
    return [
        Misclassified(
            clip=predictions.clips[row],
            speaker=predictions.speakers[row],
            label=labels[targets[row]],
            predicted=labels[predicted[row]],
            probability=float(predictions.probabilities[row, predicted[row]]),
            of_truth=float(predictions.probabilities[row, targets[row]]),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class ClipView:
    """A misclassified clip, with its spectrogram and its sound where its audio can be read."""

    clip: Misclassified
    spectrogram: Markup | None = None
    audio: str | None = None
    """Data URI; None unless it was asked for."""
    problem: str | None = None
    """Why there is no spectrogram."""


@dataclass(frozen=True)
class RunView:
    """Everything that the page shows of a run."""

    anchor: str
    run: Run
    folder: RunFolder
    row: Row | None
    """The run's row of its leaderboard; with several seeds its numbers are means."""
    grades: list[Grade] = field(default_factory=list)
    outcome: Outcome | None = None
    n_speakers: int | None = None
    """How many speakers are known; None if the predictions cannot be read."""
    speakers: list[SpeakerScores] = field(default_factory=list)
    calibration: Calibration | None = None
    misclassified: list[ClipView] = field(default_factory=list)
    curves: LearningCurves | None = None
    tuning: TuningCharts | None = None
    """None if the run was not tuned, or if its trials are not there."""
    attributes: dict[str, list[ValueScores]] = field(default_factory=dict)
    """Scores by value of each attribute of the corpus that has a few values."""
    problems: list[str] = field(default_factory=list)
    audio_problem: str | None = None
    """Why the corpus's audio cannot be found."""

    @property
    def gain(self) -> float | None:
        """Score minus that of the untuned run, by the ranking metric; None if there is no such run."""
        return self.row.scores.get("gain") if self.row else None

    @property
    def stricter(self) -> Row | None:
        """The same pipeline under the strictest protocol, if that is stricter than the run's."""
        return self.row.stricter if self.row else None

    @property
    def power(self) -> str:
        """How many more speakers or clips a pass would take, in a sentence; empty if that cannot be told."""
        run = self.run
        if run.metrics is None or run.limits:
            return ""
        return power_sentence(self.grades, run.metrics, self.n_speakers)

    @property
    def speaker_dots(self) -> list[list[float | None]]:
        """Recalls of each speaker by class, for a plot; empty if there are too many to tell apart."""
        return [entry.recalls for entry in self.speakers] if len(self.speakers) <= MOST_SPEAKERS else []

    @property
    def hardest(self) -> list[SpeakerScores]:
        """The speakers with the lowest accuracy, for the table."""
        return self.speakers[:MOST_SPEAKERS]

    @property
    def reproduction(self) -> Reproduction:
        """The command that makes the run again."""
        return reproduce(self.run)

    @property
    def failures(self) -> list[tuple[Failure, str]]:
        """Each reason once, with the numbers of the folds that failed for it."""
        return [(group[0], fold_numbers(group)) for group in by_reason(self.run.failures)]


@dataclass(frozen=True)
class CorpusAudio:
    """Where the audio of a corpus is."""

    clips: dict[str, Clip] = field(default_factory=dict)
    """By id; empty if the corpus cannot be found."""
    problem: str | None = None
    """Why it cannot be found."""
    facts: dict[str, AudioFacts] = field(default_factory=dict)
    """Facts of the clips whose audio this machine has checked, by id."""

    @property
    def checked(self) -> list[tuple[Clip, AudioFacts]]:
        """These clips with their facts."""
        return [(self.clips[name], facts) for name, facts in self.facts.items()]


def find_audio(record: CorpusRecord, folders: tuple[Path, ...]) -> CorpusAudio:
    """The files that the dataset plugin lists now; never raises for what is missing.

    Args:
        record: the corpus, with the plugin that made it.
        folders: drop-in folders of plugins.
    """
    try:
        registry = discover(folders)
        asked = [Source(registry.get("datasets", one.name), one.parameters) for one in record.datasets]
        clips = listed_sources(asked, record.reading).clips
        return CorpusAudio({clip.id: clip for clip in clips}, facts=known_facts(clips))
    except BenchError as error:
        return CorpusAudio(problem=str(error))


def player(waveform: Waveform) -> str:
    """The clip's first 12 s as 16 kHz mono Ogg Vorbis, a data URI of about 40 kB at most."""
    samples = resample(waveform, RATE).samples[: _MAX_SECONDS * RATE]
    for compression in _COMPRESSIONS:
        data = _vorbis(samples, compression)
        if len(data) <= _MAX_BYTES:
            break
    else:
        data = _vorbis(samples[: len(samples) * _MAX_BYTES // len(data)], _COMPRESSIONS[-1])
    return f"data:audio/ogg;base64,{base64.b64encode(data).decode()}"


def _vorbis(samples: np.ndarray, compression: float) -> bytes:
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", RATE, 1, format="OGG", subtype="VORBIS", compression_level=compression
    ) as file:
        for start in range(0, len(samples), _BLOCK):
            file.write(samples[start : start + _BLOCK])
    return buffer.getvalue()


def view_run(
    folder: RunFolder, anchor: str, criteria: Criteria | None, row: Row | None, *,
    audio_of: Callable[[CorpusRecord], CorpusAudio], playable: bool,
) -> RunView:  # fmt: skip
    """A run, `row` of a leaderboard, with the sound of its misclassified clips if `playable`.

    Raises:
        ResultsError: `run.json` cannot be read.
    """
    run = folder.read_run()
    if run.metrics is None:
        return RunView(anchor, run, folder, row)
    grades = grade(run.metrics, criteria or run.criteria, limits=run.limits)
    curves = learning_curves(folder, 0 if run.ensemble else run.protocol.n_folds)
    trials = tuning_charts(folder) if run.tuning else None
    view = RunView(anchor, run, folder, row, grades, verdict(grades), curves=curves, tuning=trials)
    try:
        predictions = read_predictions(folder, run)
    except ResultsError as error:
        return replace(view, problems=[str(error)])
    corpus = audio_of(run.corpus)
    return replace(
        view,
        n_speakers=len(set(predictions.speakers) - {None}),
        speakers=by_speaker(predictions),
        calibration=calibration(predictions),
        misclassified=[_clip_view(clip, corpus, playable) for clip in most_misclassified(predictions)],
        attributes=by_attributes(predictions, {name: clip.attributes for name, clip in corpus.clips.items()}),
        audio_problem=corpus.problem,
    )


def _clip_view(clip: Misclassified, corpus: CorpusAudio, playable: bool) -> ClipView:
    if corpus.problem:
        return ClipView(clip)
    found = corpus.clips.get(clip.clip)
    if found is None:
        return ClipView(clip, problem="the corpus has no such clip now")
    try:
        waveform = read_clip(found.source)
        audio = player(waveform) if playable else None
    except AudioError as error:
        return ClipView(clip, problem=str(error))
    return ClipView(clip, draw_spectrogram(waveform, f"{clip.clip}, {clip.label}"), audio)
