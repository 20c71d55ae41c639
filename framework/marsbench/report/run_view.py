"""One run in depth: every section's content, or a line on why there is none."""

from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from marsbench.config import Criteria
from marsbench.data.audio import Waveform, decode, read_bytes
from marsbench.errors import AudioError, ResultsError
from marsbench.evaluation.criteria import Grade, Outcome, grade, verdict
from marsbench.evaluation.fit_result import Failure
from marsbench.evaluation.predictions import Predictions
from marsbench.report.audio import Sound, draw_spectrogram, player
from marsbench.report.charts import Calibration, LearningCurves, calibration, learning_curves
from marsbench.report.error_analysis import Misclassified, SpeakerScores, by_speaker, most_misclassified
from marsbench.results.predictions import read_predictions
from marsbench.results.reproduce import Reproduction, reproduce
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder

MOST_SPEAKERS = 100


@dataclass(frozen=True)
class Heard:
    """A confused clip, with its picture and its sound if they can be had."""

    clip: Misclassified
    picture: Markup | None = None
    audio: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class RunView:
    """Everything that the page tells of a run."""

    anchor: str
    run: Run
    folder: RunFolder
    gain: float | None
    """Macro F1 above the untuned run."""
    grades: list[Grade] = field(default_factory=list)
    outcome: Outcome | None = None
    n_speakers: int | None = None
    """None if the predictions cannot be read."""
    speakers: list[SpeakerScores] = field(default_factory=list)
    calibration: Calibration | None = None
    confused: list[Heard] = field(default_factory=list)
    curves: LearningCurves | None = None
    problems: list[str] = field(default_factory=list)
    sound_problem: str | None = None

    @property
    def specks(self) -> list[list[float | None]]:
        """Recalls of each speaker, for a plot; none where they would be a blur."""
        return [entry.recalls for entry in self.speakers] if len(self.speakers) <= MOST_SPEAKERS else []

    @property
    def hardest(self) -> list[SpeakerScores]:
        """The speakers of the table."""
        return self.speakers[:MOST_SPEAKERS]

    @property
    def reproduction(self) -> Reproduction:
        """What makes the run once more."""
        return reproduce(self.run)

    @property
    def failures(self) -> list[tuple[Failure, str]]:
        """Each reason once, with the folds that it befell, from 1."""
        groups: dict[str, list[Failure]] = {}
        for failure in self.run.failures:
            groups.setdefault(failure.message, []).append(failure)
        return [(group[0], _folds(group)) for group in groups.values()]


def view_run(folder: RunFolder, anchor: str, criteria: Criteria | None, gain: float | None) -> RunView:
    """A run without its clips' audio; raises ResultsError if `run.json` cannot be read."""
    run = folder.read_run()
    if run.metrics is None:
        return RunView(anchor, run, folder, gain)
    grades = grade(run.metrics, criteria or run.criteria)
    problems: list[str] = []
    predictions: Predictions | None = None
    try:
        predictions = read_predictions(folder, run)
    except ResultsError as error:
        problems.append(str(error))
    return RunView(
        anchor, run, folder, gain, grades, verdict(grades),
        n_speakers=len(set(predictions.speakers) - {None}) if predictions else None,
        speakers=by_speaker(predictions) if predictions else [],
        calibration=calibration(predictions) if predictions else None,
        confused=[Heard(clip) for clip in most_misclassified(predictions)] if predictions else [],
        curves=learning_curves(folder, run.protocol.n_folds),
        problems=problems,
    )  # fmt: skip


def listen(confused: list[Heard], sound: Sound, *, with_audio: bool) -> list[Heard]:
    """Add pictures, and players where asked."""
    return [_listen(heard.clip, sound.paths.get(heard.clip.clip), with_audio) for heard in confused]


def _listen(clip: Misclassified, path: Path | None, with_audio: bool) -> Heard:
    if path is None:
        return Heard(clip, problem="no such clip in the corpus now")
    try:
        waveform: Waveform = decode(read_bytes(path))
        audio = player(waveform) if with_audio else None
    except AudioError as error:
        return Heard(clip, problem=str(error))
    return Heard(clip, draw_spectrogram(waveform, f"{clip.clip}, {clip.label}"), audio)


def _folds(failures: list[Failure]) -> str:
    return ", ".join(str(failure.fold + 1) for failure in failures if failure.fold is not None)
