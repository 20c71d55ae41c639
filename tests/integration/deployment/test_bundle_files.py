import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marsbench.atomic_files import read_checksummed, write_checksummed
from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle
from marsbench.deployment.bundle_files import golden_samples, read_bundle, write_bundle
from marsbench.errors import BenchError, PluginError, ResultsError, StorageError
from marsbench.plugin.registry import Registry, discover


def edit(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
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
    with pytest.raises(BenchError, match=r"damaged|cannot be read"):
        read_bundle(folder, registry)


def test_a_bundle_whose_labels_were_swapped_does_not_pass(folder: Path, registry: Registry) -> None:
    """The golden answers are by position: another order of classes answers other classes."""

    def swap(values: dict[str, object]) -> None:
        for clip in values["golden"]:  # type: ignore[attr-defined]
            clip["probabilities"].reverse()

    edit(folder, swap)
    with pytest.raises(ResultsError, match="is not predicted as at export"):
        read_bundle(folder, registry)


def test_a_file_outside_the_folder_is_not_read(folder: Path, registry: Registry) -> None:
    Path("secret").write_text("x")
    edit(folder, lambda values: values["files"].update({"../secret": ""}))  # type: ignore[attr-defined]
    with pytest.raises(ResultsError, match="lists a file outside its folder"):
        read_bundle(folder, registry)


def test_a_golden_clip_outside_the_folder_is_not_read(folder: Path, registry: Registry) -> None:
    Path("secret.flac").write_bytes(b"x")
    edit(folder, lambda values: values["golden"][0].update(file="../secret.flac"))  # type: ignore[index]
    with pytest.raises(ResultsError, match=r"has a file that bundle\.json does not list"):
        read_bundle(folder, registry)


def test_a_plugin_that_is_missing_is_asked_for_by_name(folder: Path) -> None:
    with pytest.raises(PluginError, match="needs the features plugin 'crossings', which was not found"):
        read_bundle(folder, discover(()))


def test_no_bundle_is_one_line(registry: Registry) -> None:
    with pytest.raises(ResultsError, match=r"nothing/bundle\.json cannot be read"):
        read_bundle(Path("nothing"), registry)


def test_a_bundle_of_one_pipeline_says_what_it_always_said(folder: Path) -> None:
    """Folders that an earlier version wrote are read, and an earlier version reads ours."""
    values = json.loads(read_checksummed(folder / "bundle.json"))
    values.pop("sha256", None)
    assert set(values) == {
        "schema_version", "features", "model", "hyperparameters", "labels", "sample_rate", "input_shape",
        "corpus", "origin", "fold", "form", "quantised", "seed", "environment", "golden", "files",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == {"bundle.json", "golden", "model"}
