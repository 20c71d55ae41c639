"""The page's script, run by `bench app`; `streamlit run app.py -- BUNDLE` shows the same.

Only this module imports Streamlit.
"""

import gc
import hashlib
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from mimetypes import guess_type
from pathlib import Path

import streamlit as st
from markupsafe import Markup
from streamlit.runtime.uploaded_file_manager import UploadedFile

from marsbench.app import views
from marsbench.app.inference import (
    MAX_MEGABYTES,
    MAX_SECONDS,
    Answer,
    demo_folder,
    predict_bytes,
    train_demo,
    upload_suffixes,
)
from marsbench.data.audio import read_bytes
from marsbench.data.compressed import SUFFIXES as COMPRESSED
from marsbench.data.compressed import has_pyav
from marsbench.deployment.bundle_files import RECORD, AnyBundle, is_bundle, read_bundle
from marsbench.deployment.bundle_record import BaseRecord, GoldenClip, Origin, sure_phrase, worth_phrase
from marsbench.deployment.prediction import Prediction, beyond_full_scale
from marsbench.environment import install_hint
from marsbench.errors import AudioError, BenchError
from marsbench.evaluation.scores import grade
from marsbench.plugin.registry import discover, drop_in_folders
from marsbench.report import phrases
from marsbench.report.charts import draw_spectrogram
from marsbench.report.columns import shown_in
from marsbench.results.leaderboard import leaderboards

_STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")
_SYNTHETIC = (
    "This model was trained on **synthetic voices**: it shows how the page works and will not recognise "
    "people."
)
# Comments, not strings: Streamlit would show those on the page.
# In Hz. Streamlit's default of 16,000 loses frequencies that a model may need; with None, the browser's own
# rate, come noise suppression and automatic gain.
_MICROPHONE_RATE = 48_000
_RECORDING = "Your recording"
_LIMITS = f"{MAX_MEGABYTES} MB and {MAX_SECONDS / 60:.0f} minutes"
# Formats that are offered where PyAV is installed.
_NEEDS_PYAV = ", ".join(sorted(suffix[1:].upper() for suffix in COMPRESSED))


def parse_options(words: Sequence[str]) -> Namespace:
    """Options from the words behind `--`: `bundle`, None for the demo model, `results` and `plugins`.

    Raises:
        PluginError: a folder of plugins does not exist.
    """
    parser = ArgumentParser("page.py")
    parser.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--plugins", type=Path, action="append", default=[], metavar="DIR")
    found = parser.parse_args(words)
    found.plugins = drop_in_folders(found.plugins)
    return found


def show(options: Namespace) -> None:
    """The whole page; Streamlit runs the script again after every click."""
    st.set_page_config(page_title="marsbench", page_icon="🎙️", layout="centered")
    _html(Markup())
    st.title("Recognise emotion in a recording", anchor=False)
    folder = options.bundle or demo_folder()
    if options.bundle is None and not is_bundle(folder):
        _offer_demo(options)
        return
    try:
        stamp = (folder / RECORD).stat().st_mtime_ns if is_bundle(folder) else 0
        bundle = _opened(str(folder), options.plugins, stamp)
    except BenchError as error:
        st.error(escaped(str(error)))
        if options.bundle is None:
            _offer_demo(options)
        return
    _introduce(bundle)
    prediction, scores = st.tabs(["Predict", "How good is it?"])
    with prediction:
        show_input(bundle, folder)
    with scores:
        show_scores(bundle.record, options.results)


@st.cache_resource(show_spinner="Opening the model …", max_entries=4)
def _opened(folder: str, folders: tuple[Path, ...], stamp: int) -> AnyBundle:  # noqa: ARG001 - changes when it is written again
    """The bundle, read once for all visitors and once more whenever it is written again."""
    bundle = read_bundle(Path(folder), discover(folders))
    # Streamlit collects garbage after every click: with TensorFlow loaded that is half a million objects, and
    # all visitors wait. Objects that exist now are kept anyway.
    gc.collect()
    gc.freeze()
    return bundle


def _offer_demo(options: Namespace) -> None:
    st.info(
        "No bundle was given: `bench app BUNDLE` opens one written by `bench export`. "
        "To try the page, train a demo model on synthetic voices; it takes some seconds."
    )
    if st.button("Train the demo model", type="primary"):
        try:
            with st.spinner("Synthesising voices and training …"):
                train_demo(discover(options.plugins))
        except BenchError as error:
            st.error(escaped(str(error)))
        else:
            st.rerun()


def _introduce(bundle: AnyBundle) -> None:
    record, corpus = bundle.record, bundle.record.corpus
    trained_on = f"{record.title}, trained on {corpus.n_clips:,} clips of {corpus.name}."
    st.caption(escaped(f"{trained_on} Classes: {', '.join(record.labels)}."))
    if corpus.synthetic:
        st.warning(_SYNTHETIC)
    if bundle.warning:
        st.warning(escaped(bundle.warning))


def show_input(bundle: AnyBundle, folder: Path) -> None:
    """Upload, microphone and example clips, and the prediction of whichever was used last."""
    left, right = st.columns(2)
    uploaded = left.file_uploader(
        f"Upload files, each up to {_LIMITS}", type=upload_suffixes(), accept_multiple_files=True,
        key="file", on_change=partial(_remember, "file"),
    )  # fmt: skip
    if not has_pyav():
        left.caption(escaped(f"{_NEEDS_PYAV} need PyAV on the server: {install_hint('av')}."))
    recorded = right.audio_input(
        "Or record your voice",
        sample_rate=_MICROPHONE_RATE,
        key="voice",
        on_change=partial(_remember, "voice"),
    )
    example = _choose_example(bundle.record.golden)
    given = {"file": uploaded or None, "voice": recorded, "example": example}
    there = [which for which, one in given.items() if one is not None]
    latest = st.session_state.get("latest")
    which = latest if latest in there else next(iter(there), None)
    if which == "file":
        show_files(bundle, uploaded)
    elif which == "voice" and recorded is not None:
        show_answer(bundle, recorded.getvalue(), None)
    elif example is not None:
        _show_example(bundle, folder, example)


def _remember(which: str) -> None:
    st.session_state["latest"] = which


def _choose_example(golden: Sequence[GoldenClip]) -> GoldenClip | None:
    if not golden:
        return None
    number: int | None = st.pills(
        "Or play a training clip and predict it; its class:",
        range(len(golden)),
        format_func=lambda one: escaped(golden[one].label),
        key="example",
        on_change=partial(_remember, "example"),
    )
    return None if number is None else golden[number]


def _show_example(bundle: AnyBundle, folder: Path, clip: GoldenClip) -> None:
    try:
        data = read_bytes(folder / clip.file)
    except AudioError as error:
        st.error(escaped(f"{clip.file}: {error}"))
        return
    trained_on = (
        f"True class: {clip.label}. The model was trained on this clip, so a right answer says nothing about "
        "new clips."
    )
    show_answer(bundle, data, f"{clip.clip}.flac", trained_on)


def show_files(bundle: AnyBundle, files: Sequence[UploadedFile]) -> None:
    """The prediction of one file; of several a table that can be downloaded, and one of them in full."""
    shown = files[-1]
    if len(files) > 1:
        rows = [(file.name, _prediction_of(bundle, file.getvalue(), file.name)) for file in files]
        st.divider()
        _html(views.table("files", rows))
        st.download_button(
            "Download as CSV", views.as_csv(rows, bundle.record), "predictions.csv", "text/csv",
            on_click="ignore",
        )  # fmt: skip
        shown = st.selectbox("Show in full", files, index=len(files) - 1, format_func=lambda file: file.name)
    show_answer(bundle, shown.getvalue(), shown.name)


def _prediction_of(bundle: AnyBundle, data: bytes, name: str) -> Prediction | BenchError:
    """The prediction of a file's bytes, or why there is none; found once a visitor, content and bundle."""
    known: tuple[AnyBundle, dict[str, Prediction | BenchError]] | None = st.session_state.get("known")
    if known is None or known[0] is not bundle:
        known = st.session_state["known"] = (bundle, {})
    if (content := hashlib.sha256(data).hexdigest()) not in known[1]:
        try:
            with st.spinner(escaped(f"Predicting {name} …")):
                known[1][content] = predict_bytes(bundle, data).prediction
        except BenchError as error:
            known[1][content] = error
    return known[1][content]


def _tell(error: BenchError, file: str | None) -> None:
    again = ""
    if isinstance(error, AudioError):
        formats = f"WAV, FLAC, OGG, MP3{f', {_NEEDS_PYAV}' if has_pyav() else ''}"
        again = f". Please choose another: {formats}, up to {_LIMITS}." if file else ". Please record again."
    st.error(escaped(f"{file or _RECORDING}: {error}{again}"))


def show_answer(bundle: AnyBundle, data: bytes, file: str | None, trained_on: str | None = None) -> None:
    """The prediction for an audio file's bytes, or why there is none; `file` is None for the microphone.

    `trained_on` tells that the clip is one of those that the model was trained on: no score holds for it.
    """
    name = file or _RECORDING
    predicted = _prediction_of(bundle, data, name)
    if isinstance(predicted, BenchError):
        _tell(predicted, file)
        return
    answer = predict_bytes(bundle, data, predicted)
    if answer.prediction.is_narrowband:
        st.warning(
            f"This recording has {answer.waveform.sample_rate:,} samples a second, fewer than any training "
            "clip: missing high frequencies may change the prediction."
        )
    if answer.prediction.is_far_beyond_full_scale:
        st.warning(escaped(beyond_full_scale(answer.prediction.peak)))
    if answer.prediction.is_unlike and answer.prediction.novelty is not None:
        st.warning(escaped(f"This recording is {phrases.unlike_phrase(answer.prediction.novelty)}."))
    st.divider()
    left, right = st.columns(2, gap="medium")
    with left:
        origin, sure = bundle.record.origin, answer.prediction.as_sure
        known = sure_phrase(origin, sure) if origin and sure else ""
        _html(views.table("prediction", answer.prediction, name, trained_on or known))
        kind = guess_type(file or "recording.wav")[0] or "audio/wav"
        st.audio(data, format=kind.replace("video/", "audio/"))
        st.caption(escaped(worth_phrase(origin)))
    with right:
        _html(
            views.as_image(views.draw_waveform(answer.waveform), "Waveform")
            + views.as_image(draw_spectrogram(answer.waveform, name), "Log-mel spectrogram")
        )
    if len(answer.prediction.windows) > 1:
        _show_timeline(answer)


def _show_timeline(answer: Answer) -> None:
    st.subheader("Over time", anchor=False)
    first = answer.prediction.windows[0]
    st.caption(
        f"{len(answer.prediction.windows)} windows of {first.end - first.start:.1f} s, the length of the "
        "training clips; the prediction above is their mean. Brighter is more probable."
    )
    _html(views.timeline(answer.prediction))
    with st.expander("As a table"):
        _html(views.table("segments", views.segments(answer.prediction)))


def show_scores(record: BaseRecord, results: Path) -> None:
    """Verdict, scores and confusion matrix of the bundle's run, and its leaderboard."""
    origin = record.origin
    if origin is None:
        st.info(
            "This model has no run, so it has no scores. `bench run` tests a pipeline on clips that it was "
            "not trained on; `bench export` makes a model of the run."
        )
    else:
        _show_run(origin)
    _show_leaderboards(record, results)


def _show_run(origin: Origin) -> None:
    apart = "No speaker is both in training and test."
    shared = "The same speakers may be in training and test."
    about = escaped(f"Run {origin.run_id} under {origin.protocol}: scores on held-out clips.")
    st.caption(f"{about} {apart if origin.by_speaker else shared}")
    _html(
        views.table("verdict", origin, grade(origin.metrics, origin.criteria, limits=origin.limits), phrases)
    )
    st.caption(
        "Accuracy: share of all clips that were recognised. Recall: the same for the clips of one class. "
        "Macro F1: mean over classes of the harmonic mean of precision and recall."
    )
    st.subheader("Confusion matrix", anchor=False)
    st.caption(
        "Clips by true class (rows) and predicted class (columns). "
        "The deeper the blue, the larger the share of the row."
    )
    _html(views.table("confusion", origin.metrics))


def _show_leaderboards(record: BaseRecord, results: Path) -> None:
    origin = record.origin
    asked = (origin.protocol, origin.criteria) if origin else (None, None)
    try:
        boards, left_out = leaderboards(results, record.corpus.name, *asked)
    except BenchError as error:
        st.caption(escaped(f"No leaderboard: {error}"))
        return
    for board in boards:
        if origin is None or board.hash == origin.protocol_hash:
            st.subheader(escaped(f"Leaderboard: {board.corpus}, {board.protocol}"), anchor=False)
            st.caption(
                "Below each score: its 95 % interval. Worst class: the class of lowest recall. "
                "Rows that share a letter have no significant difference."
                + (" The marked one is this model's run." if origin else "")
            )
            _html(views.table("leaderboard", board, shown_in("app"), origin.run_id if origin else None))
    for line in left_out:
        st.caption(escaped(f"Left out: {line}"))


def _html(inside: Markup) -> None:
    st.html(Markup("<style>{}</style><div class='marsbench'>{}</div>").format(Markup(_STYLE), inside))  # noqa: S704 - ours


def escaped(text: str) -> str:
    """Text in which nothing is Markdown to Streamlit."""
    return re.sub(r"([\\`*_\[\]$~<>#|])", r"\\\1", text)


if __name__ == "__main__":
    show(parse_options(sys.argv[1:]))
