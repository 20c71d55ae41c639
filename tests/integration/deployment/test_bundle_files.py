import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.bundle import measured
from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import golden_samples, read_bundle, write_bundle
from marsbench.errors import BenchError, PluginError, ResultsError, StorageError
from marsbench.plugin.registry import Registry, discover

Values = dict[str, Any]


def edit(folder: Path, change: Callable[[Values], object]) -> None:
    """Change `bundle.json` and give it a new checksum, as an attacker would."""
    values = json.loads(read_checksummed(folder / "bundle.json"))
    change(values)
    write_checksummed(folder / "bundle.json", json.dumps(values))


def test_a_bundle_answers_as_the_one_that_was_written(
    bundle: Bundle, folder: Path, corpus: CheckedCorpus, registry: Registry
) -> None:
    again = read_bundle(folder, registry)
    for clip in corpus.clips[::5]:
        assert np.array_equal(again.predict(clip.path).probabilities, bundle.predict(clip.path).probabilities)


def test_it_holds_a_clip_of_each_class_with_the_answer_to_it(folder: Path, registry: Registry) -> None:
    record = read_bundle(folder, registry).record
    assert [clip.label for clip in record.golden] == record.labels
    assert all((folder / clip.file).is_file() for clip in record.golden)


def test_a_bundle_is_replaced_and_anything_else_is_left_alone(
    bundle: Bundle, folder: Path, corpus: CheckedCorpus
) -> None:
    write_bundle(bundle, folder, golden_samples(corpus))
    Path("other").mkdir()
    Path("other", "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="other holds something else than a bundle"):
        write_bundle(bundle, Path("other"))
    assert Path("other", "thesis.txt").read_text() == "years of work"


def test_nothing_is_left_where_a_check_fails(
    bundle: Bundle, corpus: CheckedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([0.0, 0.0, 0.0, 0.5, 0.5, 0.5])
    plain = Bundle.probabilities
    monkeypatch.setattr(Bundle, "probabilities", lambda self, samples: plain(self, samples) + next(answers))
    with pytest.raises(ResultsError, match="is not predicted as at export"):
        write_bundle(bundle, Path("bundle"), golden_samples(corpus))
    assert list(Path().glob("*bundle*")) == []


@pytest.mark.parametrize("name", ["bundle.json", "model/means.npz", "golden/0.flac"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_bundle_is_one_line(folder: Path, registry: Registry, name: str, harm: str) -> None:
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if harm == "cut":
        path.write_bytes(data[:-3])
    with pytest.raises(BenchError, match=r"damaged|cannot be read|is not a bundle"):
        read_bundle(folder, registry)


def test_a_bundle_whose_labels_were_swapped_does_not_pass(folder: Path, registry: Registry) -> None:
    """The golden answers are by position: another order of classes answers other classes."""

    def swap(values: Values) -> None:
        for clip in values["golden"]:
            clip["probabilities"].reverse()

    edit(folder, swap)
    with pytest.raises(ResultsError, match="is not predicted as at export"):
        read_bundle(folder, registry)


def reverse_golden_labels(values: Values) -> None:
    for clip, label in zip(values["golden"], reversed(values["labels"]), strict=True):
        clip["label"] = label


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["labels"].reverse(),
        lambda values: values.update(labels=[values["labels"][place] for place in (1, 2, 0)]),
        lambda values: values.update(labels=["low", "middle", "angry"]),
        lambda values: values.update(labels=["low", "low", "high"]),
        lambda values: values["golden"][2].update(label="low"),
        reverse_golden_labels,
    ],
)
def test_labels_that_are_not_those_of_the_golden_clips_are_refused(
    folder: Path, registry: Registry, change: Callable[[Values], object]
) -> None:
    edit(folder, change)
    with pytest.raises(ResultsError, match=r"bundle\.json was changed after export: its labels are"):
        read_bundle(folder, registry)


def test_labels_of_another_number_than_the_models_classes_are_refused(
    folder: Path, registry: Registry
) -> None:
    edit(folder, lambda values: values["labels"].append("angry"))
    with pytest.raises(BenchError, match="gives 3 probabilities for 4 classes"):
        read_bundle(folder, registry)


def test_golden_clips_are_stored_in_the_order_of_the_classes(
    bundle: Bundle, corpus: CheckedCorpus, registry: Registry
) -> None:
    write_bundle(bundle, Path("bundle"), list(golden_samples(corpus))[::-1])
    assert [clip.label for clip in read_bundle(Path("bundle"), registry).record.golden] == [*bundle.labels]


def test_a_file_of_the_model_that_is_not_listed_is_not_read(folder: Path, registry: Registry) -> None:
    edit(folder, lambda values: values["files"].pop("model/means.npz"))
    with pytest.raises(ResultsError, match=r"a file that bundle\.json does not list: model/means\.npz"):
        read_bundle(folder, registry)


@pytest.mark.parametrize("name", ["means.npz", "further.npz", "."])
def test_a_model_that_is_a_link_to_elsewhere_is_not_read(folder: Path, registry: Registry, name: str) -> None:
    """Another file of the same content, or of another name, or the whole folder."""
    shutil.copytree(folder / "model", "elsewhere")
    link, target = folder / "model" / name, Path("elsewhere").absolute()
    if name == ".":
        shutil.rmtree(link)
        (folder / "model").symlink_to(target)
    else:
        link.unlink(missing_ok=True)
        link.symlink_to(target / "means.npz")
    with pytest.raises(ResultsError, match=r"outside its folder: model/means|does not list: model/further"):
        read_bundle(folder, registry)


def test_a_file_that_cannot_be_read_to_its_end_is_refused(folder: Path, registry: Registry) -> None:
    (folder / "model" / "means.npz").unlink()
    os.mkfifo(folder / "model" / "means.npz")
    with pytest.raises(ResultsError, match=r"model/means\.npz is not a regular file"):
        read_bundle(folder, registry)


def test_a_bundle_of_other_code_is_used_if_it_answers_the_same(folder: Path, registry: Registry) -> None:
    """Such as one that was written when digests of code were computed in another way."""
    edit(folder, lambda values: [values[kind].update(source="older") for kind in ("features", "model")])
    bundle = read_bundle(folder, registry)
    assert bundle.changed == ("crossings", "nearest_mean")
    assert bundle.predict(folder / "golden" / "2.flac").label == "high"


def test_a_file_outside_the_folder_is_not_read(folder: Path, registry: Registry) -> None:
    Path("secret").write_text("x")
    edit(folder, lambda values: values["files"].update({"../secret": ""}))
    with pytest.raises(ResultsError, match="lists a file outside its folder"):
        read_bundle(folder, registry)


def test_a_golden_clip_outside_the_folder_is_not_read(folder: Path, registry: Registry) -> None:
    Path("secret.flac").write_bytes(b"x")
    edit(folder, lambda values: values["golden"][0].update(file="../secret.flac"))
    with pytest.raises(ResultsError, match=r"has a file that bundle\.json does not list"):
        read_bundle(folder, registry)


def test_a_plugin_that_is_missing_is_asked_for_by_name(folder: Path) -> None:
    with pytest.raises(PluginError, match="needs the features plugin 'crossings', which was not found"):
        read_bundle(folder, discover(()))


def test_no_bundle_is_one_line(registry: Registry) -> None:
    with pytest.raises(ResultsError, match="nothing is not a bundle: there is no such folder"):
        read_bundle(Path("nothing"), registry)


def test_a_recording_unlike_the_training_clips_is_marked_once_the_bundle_is_read_again(
    bundle: Bundle, corpus: CheckedCorpus, registry: Registry
) -> None:
    write_bundle(measured(bundle, corpus), Path("mine"), golden_samples(corpus))
    read = read_bundle(Path("mine"), registry)
    assert not read.predict(corpus.clips[0].path).is_unlike
    noise = read.predict(np.random.default_rng(0).uniform(-1, 1, 16_000), 16_000)
    assert (noise.is_unlike, noise.novelty, noise.windows[0].novelty) == (True, 1.0, 1.0)
    Path("mine", "novelty.f32").write_bytes(b"")
    with pytest.raises(ResultsError, match=r"novelty\.f32 is damaged"):
        read_bundle(Path("mine"), registry)
    edit(Path("mine"), lambda values: values["files"].pop("novelty.f32"))
    with pytest.raises(ResultsError, match=r"bundle\.json does not list: novelty\.f32"):
        read_bundle(Path("mine"), registry)


def test_a_bundle_of_few_clips_marks_nothing(bundle: Bundle, corpus: CheckedCorpus) -> None:
    found = bundle.predict(corpus.clips[0].path)
    assert (found.novelty, found.is_unlike, found.windows[0].novelty) == (None, None, None)


def test_a_bundle_of_one_pipeline_says_what_it_always_said(folder: Path) -> None:
    """Each field beyond these has a default, so that folders of earlier versions are read."""
    values = json.loads(read_checksummed(folder / "bundle.json"))
    values.pop("sha256", None)
    assert set(values) == {
        "schema_version", "features", "model", "hyperparameters", "labels", "sample_rate", "input_shape",
        "corpus", "origin", "fold", "form", "quantised", "seed", "environment", "golden", "files",
        "choice", "novelty", "channel", "versions",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == {"bundle.json", "golden", "model", "README.md"}
