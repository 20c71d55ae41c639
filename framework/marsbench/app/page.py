"""What the page shows, in Streamlit's words. All that can be told without it stands in the other modules."""

import gc
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import streamlit as st
from markupsafe import Markup

from marsbench.app import tables
from marsbench.app.demo_bundle import demo_folder, train_demo
from marsbench.app.figures import as_image, draw_waveform, timeline
from marsbench.app.inference import ENDINGS, MAX_MEGABYTES, MAX_SECONDS, Heard, hear, mime_type
from marsbench.deployment.bundle_files import RECORD, AnyBundle, is_bundle, read_bundle
from marsbench.deployment.bundle_record import BaseRecord, Origin
from marsbench.errors import AudioError, BenchError
from marsbench.plugin.registry import discover
from marsbench.report.audio import draw_spectrogram
from marsbench.results.leaderboard import leaderboards

_STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")
_SYNTHETIC = (
    "This model was trained on **synthetic voices**: it shows how things work and will not recognise people."
)
_SPOKEN_AT = 48_000
"""Hz that the microphone is recorded at. Streamlit's default of 16,000 leaves out what a model may live on;
its None, the browser's own rate, comes with noise suppression and automatic gain."""
_LIMITS = f"{MAX_MEGABYTES} MB and {MAX_SECONDS / 60:.0f} minutes"
_ANOTHER = f"Please choose another: WAV, FLAC, OGG or MP3, up to {_LIMITS}."


@dataclass(frozen=True)
class Options:
    """What the page was started with."""

    bundle: Path | None
    """None for the demo model."""
    results: Path
    folders: tuple[Path, ...]
    """Drop-in folders of plugins."""


def show(options: Options) -> None:
    """The whole page, from its top; Streamlit calls this again whenever something was clicked."""
    st.set_page_config(page_title="marsbench", page_icon="🎙️", layout="centered")
    _html(Markup())
    st.title("What does it sound like?", anchor=False)
    folder = options.bundle or demo_folder()
    if options.bundle is None and not is_bundle(folder):
        _offer_demo(options)
        return
    try:
        stamp = (folder / RECORD).stat().st_mtime_ns if is_bundle(folder) else 0
        bundle = _opened(str(folder), options.folders, stamp)
    except BenchError as error:
        st.error(escaped(str(error)))
        if options.bundle is None:
            _offer_demo(options)
        return
    _introduce(bundle.record)
    listen, worth = st.tabs(["Listen", "What it is worth"])
    with listen:
        show_listening(bundle)
    with worth:
        show_worth(bundle.record, options.results)


@st.cache_resource(show_spinner="Opening the model …", max_entries=4)
def _opened(folder: str, folders: tuple[Path, ...], stamp: int) -> AnyBundle:  # noqa: ARG001 - tells a new one
    """The bundle, read once for all visitors and again when it was exported again."""
    bundle = read_bundle(Path(folder), discover(folders))
    # Streamlit collects garbage after every click: with TensorFlow loaded that is half a million objects to
    # go through, which all visitors wait for. Those of now are here to stay.
    gc.collect()
    gc.freeze()
    return bundle


def _offer_demo(options: Options) -> None:
    st.info(
        "No model was named: `bench app BUNDLE` opens one that `bench export` wrote. "
        "To try the page, train the demo model on synthetic voices; it takes some seconds."
    )
    if st.button("Train the demo model", type="primary"):
        try:
            with st.spinner("Making the voices, then training on them …"):
                train_demo(discover(options.folders))
        except BenchError as error:
            st.error(escaped(str(error)))
        else:
            st.rerun()


def _introduce(record: BaseRecord) -> None:
    corpus = record.corpus
    st.caption(
        escaped(
            f"{record.title}, trained on {corpus.n_clips:,} clips of {corpus.name}. "
            f"It knows: {', '.join(record.labels)}."
        )
    )
    if corpus.synthetic:
        st.warning(_SYNTHETIC)


def show_listening(bundle: AnyBundle) -> None:
    """Upload or record, and the answer; what came last counts."""
    left, right = st.columns(2)
    uploaded = left.file_uploader(
        f"A file: up to {_LIMITS}",
        type=list(ENDINGS),
        key="file",
        on_change=partial(_remember, "file"),
    )
    recorded = right.audio_input(
        "Or your voice, from the microphone",
        sample_rate=_SPOKEN_AT,
        key="voice",
        on_change=partial(_remember, "voice"),
    )
    by_voice = recorded is not None and (uploaded is None or st.session_state.get("latest") == "voice")
    source = recorded if by_voice else uploaded
    if source is not None:
        show_answer(bundle, source.getvalue(), None if by_voice else source.name)


def _remember(which: str) -> None:
    st.session_state["latest"] = which


def show_answer(bundle: AnyBundle, data: bytes, file: str | None) -> None:
    """What a file's bytes sound like, or in one line why that cannot be told; no `file` is the microphone."""
    name = file or "Your recording"
    try:
        with st.spinner("Listening …"):
            heard = hear(bundle, data)
    except AudioError as error:
        st.error(escaped(f"{name}: {error}. {_ANOTHER if file else 'Please record again.'}"))
        return
    except BenchError as error:
        st.error(escaped(f"{name}: {error}"))
        return
    if heard.prediction.is_narrowband:
        st.warning(
            f"This recording has {heard.waveform.sample_rate:,} samples a second, fewer than any that the "
            "model was trained on: high tones are missing, which may change the answer."
        )
    st.divider()
    left, right = st.columns(2, gap="medium")
    with left:
        _html(tables.answer(heard.prediction) + tables.bars(heard.prediction))
        st.audio(data, format=mime_type(file or "recording.wav"))
    with right:
        _html(
            as_image(draw_waveform(heard.waveform), "Waveform")
            + as_image(draw_spectrogram(heard.waveform, name), "Log-mel spectrogram")
        )
    if len(heard.prediction.windows) > 1:
        _show_timeline(heard)


def _show_timeline(heard: Heard) -> None:
    st.subheader("Over time", anchor=False)
    first = heard.prediction.windows[0]
    st.caption(
        f"{len(heard.prediction.windows)} windows of {first.end - first.start:.1f} s, as long as the clips "
        "that the model was trained on; the answer above is their mean. Brighter is more probable."
    )
    _html(timeline(heard.prediction))
    with st.expander("As a table"):
        _html(tables.turn_table(heard.prediction))


def show_worth(record: BaseRecord, results: Path) -> None:
    """What the run that the bundle came from said: verdict, scores, confusion, leaderboard."""
    origin = record.origin
    if origin is None:
        st.info(
            "This model comes from no run, so nothing is known of how often it is right. "
            "`bench run` tests a pipeline on clips that it was not trained on; `bench export` makes a model "
            "of it."
        )
    else:
        _show_run(origin)
    _show_leaderboards(record, results)


def _show_run(origin: Origin) -> None:
    st.caption(
        escaped(f"Run {origin.run_id} under {origin.protocol}: scores on clips kept out of training.")
        + (
            " No speaker stands on both sides."
            if origin.by_speaker
            else " The same speakers may stand on both sides."
        )
    )
    _html(tables.verdict(origin) + tables.grades(origin))
    st.caption(
        "Accuracy: share of all clips that were recognised. Recall: the same for the clips of one class. "
        "Macro F1: mean over classes of a score that wrong alarms lower too."
    )
    st.subheader("Confusion matrix", anchor=False)
    st.caption(
        "Clips by what they are (rows) and what they were taken for (columns). "
        "The deeper the blue, the larger the share of a row."
    )
    _html(tables.confusion(origin.metrics))


def _show_leaderboards(record: BaseRecord, results: Path) -> None:
    origin = record.origin
    try:
        boards, left_out = leaderboards(
            results,
            record.corpus.name,
            origin.protocol if origin else None,
            origin.criteria if origin else None,
        )
    except BenchError as error:
        st.caption(escaped(f"No leaderboard: {error}"))
        return
    for board in boards:
        if origin is None or board.hash == origin.protocol_hash:
            st.subheader(escaped(f"Leaderboard: {board.corpus}, {board.protocol}"), anchor=False)
            st.caption(
                "Below each score: its 95 % interval. Worst class: the one of lowest recall. "
                "Configurations of equal # are not told apart by paired tests."
                + (" The marked one is this model's." if origin else "")
            )
            _html(tables.leaderboard(board, origin.run_id if origin else None))
    for line in left_out:
        st.caption(escaped(f"Left out: {line}"))


def _html(inside: Markup) -> None:
    st.html(Markup("<style>{}</style><div class='marsbench'>{}</div>").format(Markup(_STYLE), inside))  # noqa: S704 - ours


def escaped(text: str) -> str:
    """Words as they are: Streamlit takes them for Markdown."""
    return re.sub(r"([\\`*_\[\]$~<>#|])", r"\\\1", text)
