"""A bundle as a folder.

bundle.json     `BundleRecord`, sealed
model/          what the model's plugin wrote: formats that execute no code when they are read
emotion_NAME.*  or else the model as one file, see `bundle.model_file`
golden/N.flac   clips that the model must answer as it did when it was exported

That of an ensemble holds a bundle of each member instead of a model, without clips of their own:

bundle.json     `EnsembleBundleRecord`, sealed
members/N/      a bundle
golden/N.flac   clips that all of them together must answer as they did

Nothing in it is unpickled or evaluated. What a folder holds beyond its record's list is not looked at.
"""

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import soundfile

from marsbench.atomic_files import write_checksummed
from marsbench.data.audio import Waveform, decode, read_bytes
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle, EnsembleBundle
from marsbench.deployment.bundle_record import (
    AnyRecord,
    BaseRecord,
    BundleRecord,
    EnsembleBundleRecord,
    GoldenClip,
)
from marsbench.deployment.model_file import ModelFile, Predictor, open_model_file
from marsbench.errors import DamagedError, ExportError, PluginError, ResultsError, StorageError
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Kind, Recipe, Registry, discover, make
from marsbench.results.checksummed import read_record

RECORD = "bundle.json"
AnyBundle = Bundle | EnsembleBundle
"""What can be written and is read."""
AsFile = Callable[[Bundle], ModelFile]
"""Makes one file of a bundle's model; raises ExportError."""


class Sample(NamedTuple):
    """A clip to keep in a bundle."""

    clip: str
    label: str
    waveform: Waveform


def write_bundle(
    bundle: AnyBundle, folder: Path, samples: Iterable[Sample] = (), as_file: AsFile | None = None
) -> BaseRecord:
    """Write a bundle into a folder of its own, which appears whole or not at all, and check what was written.

    An older bundle there is replaced.

    Args:
        bundle: with a model of its plugin's, or members with such.
        folder: where to.
        samples: clips that go with it, to be answered again.
        as_file: makes the file that is written of a model instead of what its plugin saves.

    Returns:
        The record of what was written.

    Raises:
        ExportError: `as_file` does.
        StorageError: it cannot be written, or the folder holds something else.
        ResultsError: what was written does not answer the golden clips as `bundle` does.
    """
    if folder.is_file():
        raise StorageError(f"{folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not is_bundle(folder):
        raise StorageError(f"{folder} holds something else than a bundle; name another folder")
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=f".{folder.name}.") as name:
            new = Path(name, "new")
            _fill(new, bundle, samples, as_file)
            written = read_bundle(new, discover(bundle.folders))
            if folder.exists():
                folder.rename(Path(name, "old"))
            new.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return written.record


def _fill(folder: Path, bundle: AnyBundle, samples: Iterable[Sample], as_file: AsFile | None) -> BaseRecord:
    folder.mkdir(parents=True)
    if isinstance(bundle, EnsembleBundle):
        record = _fill_members(folder, bundle, as_file)
    else:
        record = _fill_model(folder, bundle, as_file)
    golden = [
        _golden(folder, f"golden/{number}.flac", sample, bundle) for number, sample in enumerate(samples)
    ]
    record = record.model_copy(update={"golden": golden, "files": _hashes(folder)})
    write_checksummed(folder / RECORD, record.model_dump_json(indent=1))
    return record


def _fill_model(folder: Path, bundle: Bundle, as_file: AsFile | None) -> BaseRecord:
    file = as_file(bundle) if as_file else None
    form, quantised = (file.form, file.quantised) if file else ("plugin", None)
    record = bundle.record.model_copy(update={"form": form, "quantised": quantised})
    path = folder / record.model_path
    if file:
        path.write_bytes(file.data)
    else:
        path.mkdir()
        cast("Model", bundle.model).save(path)
    return record


def _fill_members(folder: Path, bundle: EnsembleBundle, as_file: AsFile | None) -> BaseRecord:
    written = []
    for number, member in enumerate(bundle.members):
        try:
            written.append(_fill(folder / _member(number), member, (), as_file))
        except ExportError as error:
            raise ExportError(
                f"member {number + 1} of the ensemble, {member.record.title}: {error}"
            ) from error
    return bundle.record.model_copy(update={"form": written[0].form, "quantised": written[0].quantised})


def _member(number: int) -> str:
    """Where a member's bundle is, below the ensemble's folder."""
    return f"members/{number}"


def _golden(folder: Path, name: str, sample: Sample, bundle: AnyBundle) -> GoldenClip:
    """The clip in 16 bits, and what the model says to just that."""
    buffer = io.BytesIO()
    loudest = max(1.0, float(np.abs(sample.waveform.samples).max()))
    samples = sample.waveform.samples / loudest
    soundfile.write(buffer, samples, sample.waveform.sample_rate, format="FLAC", subtype="PCM_16")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(buffer.getvalue())
    answer = bundle.predict(buffer.getvalue()).probabilities
    return GoldenClip(file=name, clip=sample.clip, label=sample.label, probabilities=answer.tolist())


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def read_bundle(folder: Path, registry: Registry) -> AnyBundle:
    """Read a bundle and let it answer its golden clips.

    Args:
        folder: what `write_bundle` wrote.
        registry: where its plugins are.

    Raises:
        ResultsError: no bundle there, a damaged one, or it answers the golden clips otherwise.
        PluginError: a plugin that it needs is missing, or is not the one that it was made with.
    """
    record = read_bundle_record(folder)
    _require_intact(folder, record)
    _require_listed(folder, record, {clip.file for clip in record.golden})
    if isinstance(record, EnsembleBundleRecord):
        bundle: AnyBundle = _read_ensemble(record, folder, registry)
    else:
        bundle = _read_pipeline(record, folder, registry)
    for clip in record.golden:
        _require_answer(bundle, clip, (folder / clip.file).read_bytes())
    return bundle


def read_bundle_record(folder: Path) -> BundleRecord | EnsembleBundleRecord:
    """What a bundle says of itself; raises ResultsError if there is none, or a damaged one."""
    return read_record(folder / RECORD, AnyRecord).root


def read_samples(folder: Path, record: BaseRecord) -> list[Sample]:
    """The golden clips of a bundle that was read.

    Raises:
        AudioError: one cannot be decoded.
    """
    return [Sample(clip.clip, clip.label, decode(read_bytes(folder / clip.file))) for clip in record.golden]


def is_bundle(folder: Path) -> bool:
    """Whether a folder looks like one."""
    return (folder / RECORD).is_file()


def _read_ensemble(record: EnsembleBundleRecord, folder: Path, registry: Registry) -> EnsembleBundle:
    names = [_member(number) for number in range(len(record.members))]
    _require_listed(folder, record, {f"{name}/{RECORD}" for name in names})
    members = tuple(_read_member(folder / name, registry) for name in names)
    for name, member in zip(names, members, strict=True):
        if (member.record.labels, member.record.form) != (record.labels, record.form):
            raise ResultsError(f"{folder / name} has other classes or another form than {folder / RECORD}")
    return EnsembleBundle(record, members, registry.folders)


def _read_member(folder: Path, registry: Registry) -> Bundle:
    """A pipeline: an ensemble among members, of which it may be one itself, is none."""
    record = read_record(folder / RECORD, BundleRecord)
    _require_intact(folder, record)
    return _read_pipeline(record, folder, registry)


def _read_pipeline(record: BundleRecord, folder: Path, registry: Registry) -> Bundle:
    if record.form != "plugin":
        _require_listed(folder, record, {record.model_path})
    _require_plugin(registry, "features", record.features, folder)
    return Bundle(record, _read_model(record, folder, registry), registry.folders)


def _read_model(record: BundleRecord, folder: Path, registry: Registry) -> Predictor:
    path = folder / record.model_path
    if record.form != "plugin":
        return open_model_file(record.form, path)
    _require_plugin(registry, "models", record.model, folder)
    return cast("Model", make("models", record.model, registry.folders)).load(path)


def _require_listed(folder: Path, record: BaseRecord, read: set[str]) -> None:
    """Refuse to read a file whose checksum is not known."""
    if strangers := read - record.files.keys():
        raise ResultsError(f"{folder} names a file that it does not list: {min(strangers)}")


def _require_intact(folder: Path, record: BaseRecord) -> None:
    for name, sha256 in record.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ResultsError(f"{folder / RECORD} names a file outside its folder: {name}")
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
        if found != sha256:
            raise DamagedError(f"{path} is damaged: its checksum does not match")


def _require_plugin(registry: Registry, kind: Kind, recipe: Recipe, folder: Path) -> None:
    if recipe.name not in registry.names(kind):
        raise PluginError(
            f"{folder} needs the {kind} plugin '{recipe.name}', which is not here; "
            "name its folder with --plugins DIR"
        )
    if registry.get(kind, recipe.name).source != recipe.source:
        raise PluginError(f"{folder} was made with other code of {recipe.name}; export it again")


def _require_answer(bundle: AnyBundle, clip: GoldenClip, data: bytes) -> None:
    found = bundle.predict(data).probabilities
    if found.shape != (len(clip.probabilities),):
        raise ResultsError(f"the bundle answers {clip.clip} with {len(found)} classes")
    off, allowed = float(np.abs(found - clip.probabilities).max()), bundle.record.tolerance
    if not off <= allowed:  # NaN is no agreement
        raise ResultsError(
            f"the bundle answers {clip.clip} otherwise than when it was exported, by {off:.1e}; "
            f"{allowed:.0e} is allowed"
        )


def golden_samples(corpus: CheckedCorpus) -> Iterator[Sample]:
    """The first clip of each class, in the order of the classes."""
    first = {clip.label: clip for clip in reversed(corpus.clips)}
    for label in corpus.labels:
        yield Sample(first[label].id, label, decode(read_bytes(first[label].path)))
