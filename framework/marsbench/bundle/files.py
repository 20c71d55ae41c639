"""A bundle as a folder.

bundle.json     `BundleRecord`, sealed
model/          what the model's plugin wrote: formats that execute no code when they are read
emotion_NAME.*  or else the model as one file, see `bundle.model_file`
golden/N.flac   clips that the model must answer as it did when it was exported

Nothing in it is unpickled or evaluated. What a folder holds beyond its record's list is not looked at.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import soundfile

from marsbench.audio import Waveform, decode, read_bytes
from marsbench.bundle.bundle import Bundle
from marsbench.bundle.model_file import ModelFile, Predictor, open_model_file
from marsbench.bundle.record import BundleRecord, GoldenClip
from marsbench.errors import DamagedError, PluginError, ResultsError, StorageError
from marsbench.files import write_sealed
from marsbench.plugin.model import Model
from marsbench.plugin.registry import Kind, Recipe, Registry, discover, make
from marsbench.results.sealed import read_record

RECORD = "bundle.json"


class Sample(NamedTuple):
    """A clip to keep in a bundle."""

    clip: str
    label: str
    waveform: Waveform


def write_bundle(
    bundle: Bundle, folder: Path, samples: Iterable[Sample] = (), file: ModelFile | None = None
) -> Bundle:
    """Write a bundle into a folder of its own, which appears whole or not at all, and check what was written.

    An older bundle there is replaced.

    Args:
        bundle: with a model of its plugin's.
        folder: where to.
        samples: clips that go with it, to be answered again.
        file: its model as one file, which is written instead of what the plugin saves.

    Returns:
        The bundle, with the record of what was written.

    Raises:
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
            _fill(new, bundle, samples, file)
            written = read_bundle(new, discover(bundle.folders))
            if folder.exists():
                folder.rename(Path(name, "old"))
            new.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror or error}") from error
    return replace(bundle, record=written.record)


def _fill(folder: Path, bundle: Bundle, samples: Iterable[Sample], file: ModelFile | None) -> None:
    (folder / "golden").mkdir(parents=True)
    form, quantised = (file.form, file.quantised) if file else ("plugin", None)
    record = bundle.record.model_copy(update={"form": form, "quantised": quantised})
    path = folder / record.model_path
    if file:
        path.write_bytes(file.data)
    else:
        path.mkdir()
        cast("Model", bundle.model).save(path)
    golden = [
        _golden(folder, f"golden/{number}.flac", sample, bundle) for number, sample in enumerate(samples)
    ]
    record = record.model_copy(update={"golden": golden, "files": _hashes(folder)})
    write_sealed(folder / RECORD, record.model_dump_json(indent=1))


def _golden(folder: Path, name: str, sample: Sample, bundle: Bundle) -> GoldenClip:
    """The clip in 16 bits, and what the model says to just that."""
    buffer = io.BytesIO()
    loudest = max(1.0, float(np.abs(sample.waveform.samples).max()))
    samples = sample.waveform.samples / loudest
    soundfile.write(buffer, samples, sample.waveform.sample_rate, format="FLAC", subtype="PCM_16")
    (folder / name).write_bytes(buffer.getvalue())
    answer = bundle.predict(buffer.getvalue()).probabilities
    return GoldenClip(file=name, clip=sample.clip, label=sample.label, probabilities=answer.tolist())


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def read_bundle(folder: Path, registry: Registry) -> Bundle:
    """Read a bundle and let it answer its golden clips.

    Args:
        folder: what `write_bundle` wrote.
        registry: where its plugins are.

    Raises:
        ResultsError: no bundle there, a damaged one, or it answers the golden clips otherwise.
        PluginError: a plugin that it needs is missing, or is not the one that it was made with.
    """
    record = read_record(folder / RECORD, BundleRecord)
    _require_intact(folder, record.files)
    read = {clip.file for clip in record.golden} | ({record.model_path} if record.form != "plugin" else set())
    if strangers := read - record.files.keys():
        raise ResultsError(f"{folder} names a file that it does not list: {min(strangers)}")
    _require_plugin(registry, "features", record.features, folder)
    bundle = Bundle(record, _read_model(record, folder, registry), registry.folders)
    for clip in record.golden:
        _require_answer(bundle, clip, (folder / clip.file).read_bytes())
    return bundle


def read_samples(folder: Path, record: BundleRecord) -> list[Sample]:
    """The golden clips of a bundle that was read.

    Raises:
        AudioError: one cannot be decoded.
    """
    return [Sample(clip.clip, clip.label, decode(read_bytes(folder / clip.file))) for clip in record.golden]


def is_bundle(folder: Path) -> bool:
    """Whether a folder looks like one."""
    return (folder / RECORD).is_file()


def _read_model(record: BundleRecord, folder: Path, registry: Registry) -> Predictor:
    path = folder / record.model_path
    if record.form != "plugin":
        return open_model_file(record.form, path)
    _require_plugin(registry, "models", record.model, folder)
    return cast("Model", make("models", record.model, registry.folders)).load(path)


def _require_intact(folder: Path, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ResultsError(f"{folder / RECORD} names a file outside its folder: {name}")
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
        if found != sha256:
            raise DamagedError(f"{path} is damaged: its checksum does not fit")


def _require_plugin(registry: Registry, kind: Kind, recipe: Recipe, folder: Path) -> None:
    if recipe.name not in registry.names(kind):
        raise PluginError(
            f"{folder} needs the {kind} plugin '{recipe.name}', which is not here; "
            "name its folder with --plugins DIR"
        )
    if registry.get(kind, recipe.name).source != recipe.source:
        raise PluginError(f"{folder} was made with other code of {recipe.name}; export it again")


def _require_answer(bundle: Bundle, clip: GoldenClip, data: bytes) -> None:
    found = bundle.predict(data).probabilities
    if found.shape != (len(clip.probabilities),):
        raise ResultsError(f"the bundle answers {clip.clip} with {len(found)} classes")
    off, allowed = float(np.abs(found - clip.probabilities).max()), bundle.record.tolerance
    if not off <= allowed:  # NaN is no agreement
        raise ResultsError(
            f"the bundle answers {clip.clip} otherwise than when it was exported, by {off:.1e}; "
            f"{allowed:.0e} is allowed"
        )
