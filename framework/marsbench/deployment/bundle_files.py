"""A bundle as a folder.

bundle.json     `BundleRecord`, with a checksum of itself and of all other files
README.md       a model card, see `model_card`
model/          what the model's plugin saved
emotion_NAME.*  or the model in another format, see `formats`
novelty.f32     what tells how unlike the training clips a recording is, see `novelty`
golden/N.flac   clips with the probabilities that the model gave to them when it was exported

An ensemble's bundle holds a bundle of each member instead of a model; these have no golden clips:

bundle.json     `EnsembleBundleRecord`
members/N/      a bundle
golden/N.flac   clips with the fused probabilities

A bundle is accepted if its files have their checksums and its golden clips get their probabilities again.
Nothing in it is unpickled or evaluated, and no file is read that the record does not list.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast
from zipfile import BadZipFile, ZipFile

import numpy as np
import soundfile

from marsbench.atomic_files import (
    read_record,
    replaced_folder,
    require_writable,
    restore_folder,
    write_record,
)
from marsbench.data.audio import Waveform, decode, read_bytes
from marsbench.data.corpus import CheckedCorpus
from marsbench.data.segments import read_clip
from marsbench.deployment.bundle import Bundle, EnsembleBundle, make_plugin
from marsbench.deployment.bundle_record import (
    AnyRecord,
    BaseRecord,
    BundleRecord,
    EnsembleBundleRecord,
    GoldenClip,
)
from marsbench.deployment.formats import DEFAULT_FORMAT
from marsbench.deployment.model_card import CARD, model_card
from marsbench.deployment.model_format import ModelFormat, find_format
from marsbench.deployment.novelty import NOVELTY_FILE, Novelty
from marsbench.errors import (
    BenchError,
    DamagedError,
    ExportError,
    PluginError,
    ResultsError,
    StorageError,
    reason_of,
    with_type,
)
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Kind, Recipe, Registry, discover
from marsbench.progress import Progress

RECORD = "bundle.json"
_MEMBERS = "members"
_MAX_BYTES = 1 << 32
"""Largest size of all files of a bundle together; to hash more would take minutes."""
_MAX_UNPACKED, _MAX_RATIO, _SLACK = 1 << 31, 100, 1 << 24
"""Most bytes that an archive unpacks to: at all, and for its size; weights hardly get smaller."""
AnyBundle = Bundle | EnsembleBundle


class Sample(NamedTuple):
    """A clip to be stored in a bundle as a golden clip."""

    clip: str
    """Id in the corpus."""
    label: str
    waveform: Waveform


def golden_samples(corpus: CheckedCorpus) -> Iterator[Sample]:
    """The first clip of each class, in the order of the classes."""
    first = {clip.label: clip for clip in reversed(corpus.clips)}
    for label in corpus.labels:
        yield Sample(first[label].id, label, read_clip(first[label].source))


def write_bundle(
    bundle: AnyBundle,
    folder: Path,
    samples: Iterable[Sample] = (),
    form: str = DEFAULT_FORMAT,
    quantised: str | None = None,
) -> BaseRecord:
    """Write a bundle into a folder of its own, which appears whole or not at all, and read it to check it.

    An older bundle there is replaced. `samples` become the golden clips. `form` names the model's format;
    `quantised` is one of its `precisions`, None for weights as trained. Returns the record that was written.

    Raises:
        ExportError: the model cannot be written in that format.
        StorageError: the folder cannot be written, or holds something else than a bundle.
        ResultsError: what was written gives other probabilities to the golden clips than `bundle` does.
    """
    require_bundle_folder(folder)
    try:
        with replaced_folder(folder) as new:
            _fill(new, bundle, samples, find_format(form), quantised)
            written = read_bundle(new, discover(bundle.folders))
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {reason_of(error)}") from error
    return written.record


def require_bundle_folder(folder: Path) -> None:
    """Raise StorageError unless a bundle can be written as `folder`."""
    if folder.is_file():
        raise StorageError(f"{folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not is_bundle(folder):
        raise StorageError(f"{folder} holds something else than a bundle; name another folder")
    require_writable(folder.absolute().parent)


def _fill(
    folder: Path, bundle: AnyBundle, samples: Iterable[Sample], form: ModelFormat, quantised: str | None
) -> None:
    folder.mkdir(parents=True)
    measure = None
    if isinstance(bundle, EnsembleBundle):
        for number, member in enumerate(bundle.members):
            with naming_member(number, member.record.title):
                _fill(folder / _MEMBERS / str(number), member, (), form, quantised)
    else:
        path, model = folder / form.location(bundle.record.model.name), cast("Model", bundle.model)
        form.write(path, model, bundle.extractor.kind, quantised)
        if (measure := bundle.measure) is not None:
            measure.write(folder / NOVELTY_FILE)
    in_order = sorted(samples, key=lambda sample: bundle.labels.index(sample.label))
    golden = [_golden(folder, f"golden/{number}.flac", one, bundle) for number, one in enumerate(in_order)]
    made: dict[str, Any] = {"form": form.name, "quantised": quantised, "golden": golden}
    if measure is not None:
        made["novelty"] = measure.record
    record = bundle.record.model_copy(update=made)
    (folder / CARD).write_text(model_card(record), "utf-8")
    record = record.model_copy(update={"files": _checksums(folder)})
    write_record(folder / RECORD, record)


@contextmanager
def naming_member(number: int, title: str) -> Iterator[None]:
    """Name the member of an ensemble, whose number begins at 0, in an ExportError."""
    try:
        yield
    except ExportError as error:
        raise ExportError(f"member {number + 1} of the ensemble, {title}: {error}") from error


def _golden(folder: Path, name: str, sample: Sample, bundle: AnyBundle) -> GoldenClip:
    """The clip stored with 16 bits, and the probabilities of what is stored."""
    buffer = io.BytesIO()
    samples = sample.waveform.samples / max(1.0, sample.waveform.peak)
    soundfile.write(buffer, samples, sample.waveform.sample_rate, format="FLAC", subtype="PCM_16")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(buffer.getvalue())
    probabilities = bundle.predict(buffer.getvalue()).probabilities.tolist()
    return GoldenClip(file=name, clip=sample.clip, label=sample.label, probabilities=probabilities)


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_bundle(folder: Path) -> bool:
    """Whether a folder looks like a bundle, once what a killed export left aside is put back."""
    restore_folder(folder)
    return (folder / RECORD).is_file()


def read_bundle_record(folder: Path) -> BundleRecord | EnsembleBundleRecord:
    """The record of a bundle; raises ResultsError if there is none, or a damaged one."""
    restore_folder(folder)
    if not (folder / RECORD).exists():
        raise ResultsError(_no_bundle(folder))
    return read_record(folder / RECORD, AnyRecord).root


def _no_bundle(folder: Path) -> str:
    """What is there in place of a bundle, and how to get one."""
    if (folder / "run.json").exists():
        return f"{folder} is a run, not a bundle; make one of it with: bench export {folder}"
    if folder.is_dir():
        found = f"it has no {RECORD}"
    else:
        found = "it is a file" if folder.exists() else "there is no such folder"
    return f"{folder} is not a bundle: {found}; bench search or bench export --best writes one"


def read_samples(folder: Path, record: BaseRecord) -> list[Sample]:
    """The golden clips of a bundle that was read; raises AudioError."""
    return [Sample(clip.clip, clip.label, decode(read_bytes(folder / clip.file))) for clip in record.golden]


def read_bundle(folder: Path, registry: Registry, progress: Progress | None = None) -> AnyBundle:
    """Read a bundle, and check its files' checksums and its golden clips' probabilities.

    A plugin whose code has changed since the model was fitted is accepted if the golden clips get the stored
    probabilities all the same; the bundle's `warning`, which `progress` is told, names it.

    Raises:
        ResultsError: no bundle there, a damaged one, or one whose golden clips get other probabilities.
        PluginError: a plugin that it needs is missing, or its model cannot be read.
        ExportError: its format is unknown, or needs a package that is not installed.
    """
    record = read_bundle_record(folder)
    _require_intact(folder, record)
    _require_bounded_archives(folder, record)
    _require_listed(folder, record, {clip.file for clip in record.golden})
    if isinstance(record, EnsembleBundleRecord):
        bundle: AnyBundle = _read_ensemble(record, folder, registry)
    else:
        bundle = _read_pipeline(record, folder, registry)
    _require_labels(folder, record)
    if bundle.changed and not record.golden:
        raise ResultsError(
            f"{folder} cannot be verified: the code of {', '.join(bundle.changed)} has changed since its "
            "model was fitted, and there are no golden clips. Export it again."
        )
    with _naming_cause(bundle.changed):
        for clip in record.golden:
            _require_probabilities(bundle, folder, clip)
    if progress and bundle.warning:
        progress.say(bundle.warning)
    return bundle


def _read_ensemble(record: EnsembleBundleRecord, folder: Path, registry: Registry) -> EnsembleBundle:
    names = [f"{_MEMBERS}/{number}" for number in range(len(record.members))]
    _require_listed(folder, record, {f"{name}/{RECORD}" for name in names})
    members = []
    for below in (folder / name for name in names):
        member = read_record(below / RECORD, BundleRecord)  # no ensemble: it could contain itself
        _require_intact(below, member)
        _require_bounded_archives(below, member)
        if (member.labels, member.form) != (record.labels, record.form):
            raise ResultsError(f"{below} has other classes or another format than {folder / RECORD}")
        members.append(_read_pipeline(member, below, registry))
    return EnsembleBundle(record, tuple(members), registry.folders)


def _read_pipeline(record: BundleRecord, folder: Path, registry: Registry) -> Bundle:
    form = record.model_format
    path = folder / form.location(record.model.name)
    _require_listed(folder, record, _files_at(folder, path))
    plugins: list[tuple[Kind, Recipe]] = [("features", record.features)]
    if form.needs_plugin:
        plugins.append(("models", record.model))
    changed = tuple(recipe.name for kind, recipe in plugins if _has_changed(registry, kind, recipe, folder))
    with _naming_cause(changed):
        model = form.open(path, lambda: cast("Model", make_plugin("models", record.model, registry.folders)))
    measure = None
    if record.novelty is not None:
        _require_listed(folder, record, {NOVELTY_FILE})
        measure = Novelty.read(folder / NOVELTY_FILE, record.novelty)
    return Bundle(record, model, registry.folders, changed, measure)


def _has_changed(registry: Registry, kind: Kind, recipe: Recipe, folder: Path) -> bool:
    if recipe.name not in registry.names(kind):
        raise PluginError(
            f"{folder} needs the {kind} plugin '{recipe.name}', which was not found. "
            "Name its folder with --plugins DIR."
        )
    return registry.get(kind, recipe.name).source != recipe.source


def _files_at(folder: Path, path: Path) -> set[str]:
    """A file, or every file below a folder, links among them, by their paths below the bundle's folder."""
    below = (file for file in path.rglob("*") if file.is_symlink() or not file.is_dir())
    return {file.relative_to(folder).as_posix() for file in (below if path.is_dir() else [path])}


def _require_listed(folder: Path, record: BaseRecord, read: set[str]) -> None:
    """Refuse to read a file whose checksum is not known."""
    if unlisted := read - record.files.keys():
        raise ResultsError(f"{folder} has a file that {RECORD} does not list: {min(unlisted)}")


def _require_intact(folder: Path, record: BaseRecord) -> None:
    n_bytes = 0
    for name, sha256 in record.files.items():
        path = folder / name
        try:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise ResultsError(f"{folder / RECORD} lists a file outside its folder: {name}")
            if path.exists() and not path.is_file():  # reading a pipe would never end
                raise ResultsError(f"{path} is not a regular file")
            n_bytes += path.stat().st_size
            if n_bytes > _MAX_BYTES:
                raise ResultsError(f"{folder} is too large: its files have more than {_MAX_BYTES:,} bytes")
            found = _sha256(path)
        except (OSError, ValueError) as error:
            raise ResultsError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
        if found != sha256:
            raise DamagedError(f"{path} is damaged: its checksum does not match")


def _require_bounded_archives(folder: Path, record: BaseRecord) -> None:
    """Refuse archives, as Keras, skops and NumPy write, that unpack to gigabytes or far more than that."""
    for path in (folder / name for name in record.files):
        try:
            with ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
        except (BadZipFile, OSError, ValueError, NotImplementedError):
            continue  # no archive: whoever reads it will tell
        limit = min(_MAX_UNPACKED, _MAX_RATIO * path.stat().st_size + _SLACK)
        if unpacked > limit:
            raise ResultsError(
                f"{path} unpacks to {unpacked:,} bytes; at most {limit:,} are accepted for its size"
            )


def _require_labels(folder: Path, record: BaseRecord) -> None:
    """Refuse labels in another order than at export: golden clips are stored class by class."""
    labels, found = record.labels, [clip.label for clip in record.golden]
    known = len(set(labels)) == len(labels) and set(found) <= set(labels)
    if not known or found != sorted(found, key=labels.index):
        raise ResultsError(
            f"{folder / RECORD} was changed after export: its labels are {', '.join(labels)}, those of its "
            f"golden clips {', '.join(found)}. Export it again."
        )


def _require_probabilities(bundle: AnyBundle, folder: Path, clip: GoldenClip) -> None:
    what, allowed = f"{folder}: golden clip {clip.clip}", bundle.record.tolerance
    try:
        found = bundle.predict((folder / clip.file).read_bytes()).probabilities
    except BenchError as error:
        raise ResultsError(f"{what} cannot be predicted: {error}") from error
    if found.shape != (len(clip.probabilities),):
        raise ResultsError(f"{what} has {len(clip.probabilities)} probabilities for {len(found)} classes")
    difference = float(np.abs(found - clip.probabilities).max())
    if not difference <= allowed:  # NaN is no agreement
        raise ResultsError(
            f"{what} is not predicted as at export: its probabilities differ by {difference:.1e}, "
            f"{allowed:.0e} is allowed"
        )


@contextmanager
def _naming_cause(changed: tuple[str, ...]) -> Iterator[None]:
    """Name plugins whose code has changed as the likely cause of whatever is raised."""
    try:
        yield
    except Exception as error:
        if not changed:
            raise
        raise ResultsError(
            f"{with_type(error).removesuffix('.')}. Likely cause: the code of {', '.join(changed)} has "
            "changed since the model was fitted. Use the code of then, or export again."
        ) from error
