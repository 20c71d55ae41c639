"""A bundle of two pipelines of fakes that work at different sample rates."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.data.audio import Waveform
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle, EnsembleBundle, Span, WindowFeatures
from marsbench.deployment.bundle_files import golden_samples, read_bundle, write_bundle
from marsbench.deployment.bundle_record import BundledMember, EnsembleBundleRecord
from marsbench.deployment.export import fit_bundle
from marsbench.deployment.formats.onnx import OnnxFormat
from marsbench.deployment.sources import Source
from marsbench.errors import BenchError, ExportError, PluginError, ResultsError
from marsbench.evaluation.ensembling import average, pool
from marsbench.planning.pipelines import make_pipeline
from marsbench.plugin.registry import Registry, discover

RATE = 16_000
WEIGHTS = (1.25, 0.5)
Values = dict[str, Any]


@pytest.fixture
def members(corpus: CheckedCorpus, registry: Registry) -> tuple[Bundle, ...]:
    pipelines = [make_pipeline(registry, name, "nearest_mean", {}) for name in ("blocks", "crossings")]
    return tuple(fit_bundle(corpus, pipeline, registry, seed=0) for pipeline in pipelines)


@pytest.fixture
def ensemble(members: tuple[Bundle, ...]) -> EnsembleBundle:
    first = members[0].record
    record = EnsembleBundleRecord(
        labels=first.labels,
        sample_rate=max(member.record.sample_rate for member in members),
        corpus=first.corpus,
        environment=first.environment,
        fusion="log_pool",
        members=[
            BundledMember(title=member.record.title, run_id=f"run-{weight}", weight=weight)
            for member, weight in zip(members, WEIGHTS, strict=True)
        ],
    )
    return EnsembleBundle(record, members, members[0].folders)


@pytest.fixture
def folder(ensemble: EnsembleBundle, corpus: CheckedCorpus) -> Path:
    """The ensemble as it is written."""
    write_bundle(ensemble, Path("fused"), golden_samples(corpus))
    return Path("fused")


def edit(folder: Path, change: Callable[[Values], object]) -> None:
    """Change `bundle.json` and give it a new checksum, as an attacker would."""
    values = json.loads(read_checksummed(folder / "bundle.json"))
    change(values)
    write_checksummed(folder / "bundle.json", json.dumps(values))


def list_again(folder: Path) -> None:
    """Let a bundle list what its folder holds now."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path != folder / "bundle.json"]
    hashes = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    edit(folder, lambda values: values.update(files=hashes))


def tones(*pitches: float) -> Waveform:
    """A second of each pitch."""
    time = np.arange(RATE) / RATE
    return Waveform(
        np.concatenate([0.3 * np.sin(2 * np.pi * pitch * time) for pitch in pitches]).astype(np.float32), RATE
    )


@pytest.mark.parametrize("fusion", ["log_pool", "mean"])
def test_it_answers_what_its_members_answer_fused(
    ensemble: EnsembleBundle, members: tuple[Bundle, ...], corpus: CheckedCorpus, fusion: str
) -> None:
    bundle = replace(ensemble, record=ensemble.record.model_copy(update={"fusion": fusion}))
    for clip in corpus.clips[::7]:
        said = np.stack([member.predict(clip.path).probabilities for member in members])[:, None]
        wanted = average(said) if fusion == "mean" else pool(said, np.array(WEIGHTS))
        assert bundle.predict(clip.path).probabilities == pytest.approx(wanted[0], abs=1e-15)


def test_members_get_the_same_windows_of_a_long_recording(
    ensemble: EnsembleBundle, members: tuple[Bundle, ...]
) -> None:
    recording = tones(200, 800, 400)
    fused, alone = ensemble.predict(recording), [member.predict(recording) for member in members]
    assert len(fused.windows) > 20
    for window, *of_members in zip(fused.windows, *(answer.windows for answer in alone), strict=True):
        assert {(one.start, one.end) for one in of_members} == {(window.start, window.end)}
        said = np.stack([one.probabilities for one in of_members])[:, None]
        assert window.probabilities == pytest.approx(pool(said, np.array(WEIGHTS))[0], abs=1e-12)


def test_many_recordings_are_answered_together(ensemble: EnsembleBundle, corpus: CheckedCorpus) -> None:
    Path("bad.wav").touch()
    sources: list[Source] = [Path("bad.wav"), *(clip.path for clip in corpus.clips), tones(200, 800)]
    answers = list(ensemble.predict_each(sources))
    assert isinstance(answers[0], BenchError)
    for source, answer in zip(sources[1::10], answers[1::10], strict=True):
        assert not isinstance(answer, BenchError)
        assert np.allclose(answer.probabilities, ensemble.predict(source).probabilities, atol=1e-12)


def test_members_of_equal_features_share_their_extraction(
    ensemble: EnsembleBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted_by: list[object] = []
    plain = Bundle.extracted

    def spy(bundle: Bundle, recorded: Waveform, spans: Sequence[Span]) -> Iterator[WindowFeatures]:
        extracted_by.append(bundle)
        return plain(bundle, recorded, spans)

    monkeypatch.setattr(Bundle, "extracted", spy)
    blocks, crossings = ensemble.members
    ensemble.predict(tones(200))
    assert extracted_by == [blocks, crossings]
    extracted_by.clear()
    replace(ensemble, members=(blocks, blocks)).predict(tones(200))
    assert extracted_by == [blocks]


def test_it_lacks_high_tones_where_the_member_of_the_highest_rate_does(ensemble: EnsembleBundle) -> None:
    low = ensemble.record.model_copy(
        update={"corpus": ensemble.record.corpus.model_copy(update={"lowest_sample_rate": 44_100})}
    )
    assert replace(ensemble, record=low).predict(tones(200)).is_narrowband
    assert not ensemble.predict(tones(200)).is_narrowband


def test_it_is_read_as_it_was_written(
    ensemble: EnsembleBundle, folder: Path, corpus: CheckedCorpus, registry: Registry
) -> None:
    again = read_bundle(folder, registry)
    assert isinstance(again, EnsembleBundle)
    assert repr(again) == (
        "<Bundle log_pool of blocks + nearest_mean (1.25), crossings + nearest_mean (0.50) on tones>"
    )
    assert again.labels == ("low", "middle", "high")
    for clip in corpus.clips[::5]:
        assert np.array_equal(
            again.predict(clip.path).probabilities, ensemble.predict(clip.path).probabilities
        )


def test_clips_are_kept_once_and_every_member_is_a_bundle_of_its_own(
    members: tuple[Bundle, ...], folder: Path, registry: Registry
) -> None:
    assert len(list(folder.rglob("*.flac"))) == 3
    for number, member in enumerate(members):
        alone = read_bundle(folder / "members" / str(number), registry)
        assert np.array_equal(
            alone.predict(tones(800)).probabilities, member.predict(tones(800)).probabilities
        )


@pytest.mark.parametrize(
    "name", ["bundle.json", "golden/0.flac", "members/1/bundle.json", "members/1/model/means.npz"]
)
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_file_is_one_line(folder: Path, registry: Registry, name: str, harm: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).unlink()
    if harm == "cut":
        (folder / name).write_bytes(data[:-3])
    with pytest.raises(BenchError, match=r"damaged|cannot be read|is not a bundle"):
        read_bundle(folder, registry)


def test_a_member_that_is_missing_is_one_line(folder: Path, registry: Registry) -> None:
    shutil.rmtree(folder / "members" / "1")
    with pytest.raises(ResultsError, match=r"members/1/\S+ cannot be read: No such file"):
        read_bundle(folder, registry)


def test_other_weights_of_a_members_model_do_not_pass_whatever_lists_them(
    folder: Path, registry: Registry
) -> None:
    path = folder / "members" / "0" / "model" / "means.npz"
    with np.load(path) as stored:
        np.savez(path, means=stored["means"][::-1], sharpness=stored["sharpness"])
    list_again(folder / "members" / "0")
    list_again(folder)
    with pytest.raises(ResultsError, match="is not predicted as at export"):
        read_bundle(folder, registry)


def exchange_members(values: Values) -> None:
    values["members"][0]["weight"], values["members"][1]["weight"] = WEIGHTS[::-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["labels"].reverse(), "members/0 has other classes or another"),
        (lambda values: values.update(form="litert"), "members/0 has other classes or another format"),
        (exchange_members, "is not predicted as at export"),
        (lambda values: values.update(fusion="mean"), "is not predicted as at export"),
        (lambda values: values["members"].pop(), "is not predicted as at export"),
        (lambda values: values["members"].append(values["members"][0]), "does not list"),
        (lambda values: values.update(members=[]), "not of this version: ensemble.members: List should have"),
        (lambda values: values["members"][0].update(weight=-1.0), "not of this version: ensemble.members.0"),
        (lambda values: values["members"][0].update(weight=1e999), "not of this version: ensemble.members.0"),
        (lambda values: values["files"].update({"../secret": ""}), "lists a file outside its folder"),
        (lambda values: values["golden"][0].update(file="../x"), "does not list"),
        (lambda values: values["files"].pop("members/1/bundle.json"), "does not list"),
    ],
    ids=lambda value: "change" if callable(value) else value,
)
def test_a_record_that_someone_changed_does_not_pass(
    folder: Path, registry: Registry, change: Callable[[Values], object], message: str
) -> None:
    edit(folder, change)
    with pytest.raises(ResultsError, match=message):
        read_bundle(folder, registry)


def test_a_member_elsewhere_is_not_read(folder: Path, registry: Registry) -> None:
    (folder / "members" / "1").rename("elsewhere")
    (folder / "members" / "1").symlink_to(Path("elsewhere").absolute())
    with pytest.raises(ResultsError, match="lists a file outside its folder: members/1/"):
        read_bundle(folder, registry)


def test_a_members_file_outside_its_folder_is_not_read(folder: Path, registry: Registry) -> None:
    edit(folder / "members" / "0", lambda values: values["files"].update({"../1/bundle.json": ""}))
    list_again(folder)
    with pytest.raises(ResultsError, match=r"lists a file outside its folder: \.\./1/bundle\.json"):
        read_bundle(folder, registry)


def test_an_ensemble_among_the_members_is_refused(folder: Path, registry: Registry) -> None:
    shutil.copytree(folder, "inner")
    shutil.rmtree(folder / "members" / "0")
    shutil.move("inner", folder / "members" / "0")
    list_again(folder)
    with pytest.raises(ResultsError, match=r"members/0/bundle\.json is not of this version"):
        read_bundle(folder, registry)


def test_a_file_that_no_record_lists_is_not_read(folder: Path, registry: Registry) -> None:
    (folder / "members" / "2").mkdir()
    (folder / "members" / "2" / "bundle.json").write_text("no bundle")
    assert read_bundle(folder, registry).labels == ("low", "middle", "high")


def test_a_members_plugin_that_is_missing_is_asked_for_by_name(folder: Path) -> None:
    with pytest.raises(PluginError, match="members/0 needs the features plugin 'blocks'"):
        read_bundle(folder, discover(()))


def test_members_that_answer_with_different_classes_are_one_line(
    ensemble: EnsembleBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossings = ensemble.members[1]
    monkeypatch.setattr(crossings.model, "means_", crossings.model.means_[:2])  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="gives 2 probabilities for 3 classes"):
        ensemble.predict(tones(200))


def test_a_member_that_cannot_be_converted_is_named_and_nothing_is_left(
    ensemble: EnsembleBundle, corpus: CheckedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_: object, path: Path, *__: object) -> None:
        if "members/1/" in str(path):
            raise ExportError("no graph of it")
        path.write_bytes(b"graph")

    monkeypatch.setattr(OnnxFormat, "write", write)
    message = "member 2 of the ensemble, crossings [+] nearest_mean: no graph of it"
    with pytest.raises(ExportError, match=message):
        write_bundle(ensemble, Path("other"), golden_samples(corpus), "onnx")
    assert not list(Path().glob("*other*"))
