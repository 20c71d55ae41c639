import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import fsspec
import numpy as np
import pytest

from marsbench.data.audio_validation import check_audio
from marsbench.data.corpus import CheckedCorpus, Clip, Corpus
from marsbench.errors import ConfigError, PluginError, StorageError
from marsbench.features import store as store_module
from marsbench.features.extraction import Extracted, ExtractedClip, Extraction, run_here
from marsbench.features.feature_file import FeatureFile
from marsbench.features.store import FeatureStore, clear_store, store_use
from marsbench.plugin.base import Dataset
from marsbench.plugin.features import FeatureExtractor
from marsbench.plugin.registry import discover
from marsbench.progress import Silent


@pytest.fixture
def corpus(kit: Path) -> CheckedCorpus:
    return check_audio(cast("Dataset", discover((kit,)).get("datasets", "tones").plugin.create({})).load())


class Listening(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def store(kit: Path, name: str = "blocks", **parameters: object) -> FeatureStore:
    return FeatureStore(discover((kit,)).get("features", name).recipe(parameters), (kit,))


def part_of(corpus: CheckedCorpus, n_clips: int) -> CheckedCorpus:
    return CheckedCorpus(corpus.corpus, corpus.clips[:n_clips], corpus.facts[:n_clips])


def no_extraction(monkeypatch: pytest.MonkeyPatch, kit: Path, name: str = "blocks") -> None:
    plugin = discover((kit,)).get("features", name).plugin
    monkeypatch.setattr(plugin, "extract", lambda *_: pytest.fail("extracted again"))


@pytest.mark.parametrize("name", ["blocks", "crossings"])
def test_stored_features_equal_extracted_ones(kit: Path, corpus: CheckedCorpus, name: str) -> None:
    from marsbench.data.audio import load

    file = store(kit, name).features_of(corpus)
    extractor = cast("FeatureExtractor", discover((kit,)).get("features", name).plugin.create({}))
    for row in (0, 7, 29):
        waveform = load(corpus.clips[row].path, extractor.sample_rate)
        expected = extractor.extract(waveform.samples, waveform.sample_rate)
        assert np.array_equal(file.array(row), expected)


def test_frames_are_padded_with_zeros_to_one_length(kit: Path, corpus: CheckedCorpus) -> None:
    features = store(kit).features_of(corpus).read([3, 5])
    assert features.values.shape == (2, 8, 2)
    assert features.lengths.tolist() == [7, 7]
    assert not features.values[:, 7:].any()


def test_a_second_call_extracts_nothing_and_says_so(
    kit: Path, corpus: CheckedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(kit).features_of(corpus)
    no_extraction(monkeypatch, kit)
    listening = Listening()
    store(kit).features_of(corpus, progress=listening)
    assert listening.lines == ["blocks: all 30 clips from the store"]


def test_another_corpus_takes_the_clips_that_it_shares(
    kit: Path, corpus: CheckedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = store(kit).features_of(corpus)
    no_extraction(monkeypatch, kit)
    half = store(kit).features_of(part_of(corpus, 10))
    assert np.array_equal(half.read(range(10)).values, whole.read(range(10)).values)


def test_a_recording_that_stands_twice_is_extracted_once_and_counted_right(
    kit: Path, corpus: CheckedCorpus
) -> None:
    twice = CheckedCorpus(corpus.corpus, corpus.clips[:2] * 2, corpus.facts[:2] * 2)
    listening = Listening()
    file = store(kit).features_of(twice, progress=listening)
    assert listening.lines == ["blocks: 0 of 4 clips from the store"]
    assert np.array_equal(file.array(0), file.array(2))


def test_an_interrupted_extraction_goes_on_where_it_stopped(
    kit: Path, corpus: CheckedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = cast("type[FeatureExtractor]", discover((kit,)).get("features", "blocks").plugin)
    extract, calls = plugin.extract, []

    def interrupted(self: FeatureExtractor, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return extract(self, waveform, sample_rate)

    monkeypatch.setattr(plugin, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store(kit).features_of(corpus)
    listening = Listening()
    file = store(kit).features_of(corpus, progress=listening)
    assert listening.lines == ["blocks: 16 of 30 clips from the store"]
    assert len(calls) == 20 + 14
    assert len(file.read(range(30))) == 30
    assert not list(file.path.parent.glob("part-*"))


@pytest.mark.parametrize("damage", ["truncate", "no index", "broken index"])
def test_a_damaged_file_is_extracted_again(kit: Path, corpus: CheckedCorpus, damage: str) -> None:
    before = store(kit).features_of(corpus)
    expected, index = before.read(range(30)).values, before.path.with_suffix(".json")
    if damage == "truncate":
        before.path.write_bytes(before.path.read_bytes()[:-4])
    elif damage == "no index":
        index.unlink()
    else:
        index.write_text("{")
    assert np.array_equal(store(kit).features_of(corpus).read(range(30)).values, expected)


def test_a_changed_parameter_never_yields_an_old_array(kit: Path, corpus: CheckedCorpus) -> None:
    single = store(kit, "crossings").features_of(corpus).read(range(30)).values
    double = store(kit, "crossings", scale=2.0).features_of(corpus).read(range(30)).values
    assert np.allclose(double, 2 * single)


def test_changed_audio_never_yields_an_old_array(kit: Path, corpus: CheckedCorpus) -> None:
    before = store(kit, "crossings").features_of(corpus).array(0)
    clip = corpus.clips[0].path
    other = next(c.path for c in corpus.clips if c.label == "low")
    clip.write_bytes(other.read_bytes())
    after = store(kit, "crossings").features_of(check_audio(corpus.corpus)).array(0)
    assert not np.array_equal(before, after)


SCRIPT = """
import sys
from pathlib import Path
from marsbench.data.audio_validation import check_audio
from marsbench.features.store import FeatureStore
from marsbench.plugin.registry import discover
folders = tuple(map(Path, sys.argv[1:]))
registry = discover(folders)
corpus = check_audio(registry.get("datasets", "tones").plugin().load())
print(FeatureStore(registry.get("features", "edited").recipe({}), folders).features_of(corpus).array(0)[0])
"""

EDITED = '''
import numpy as np
from marsbench.plugin import FeatureExtractor
IMPORT
class Edited(FeatureExtractor):
    """A constant."""
    kind = "vector"
    def extract(self, waveform, sample_rate):
        return np.array([VALUE], np.float32)
'''


@pytest.mark.parametrize("where", ["own file", "imported file"])
def test_a_changed_line_never_yields_an_old_array(kit: Path, tmp_path: Path, where: str) -> None:
    features = tmp_path / "mine" / "features"
    features.mkdir(parents=True)
    values = []
    for value in ("1.0", "2.0"):  # edits of equal length within one second: what caches of any kind miss
        own = where == "own file"
        plugin = EDITED.replace("IMPORT", "" if own else "from _constant import VALUE")
        (features / "edited.py").write_text(plugin.replace("VALUE]", f"{value}]") if own else plugin)
        (features / "_constant.py").write_text(f"VALUE = {value}\n")
        command = [sys.executable, "-c", SCRIPT, str(kit), str(tmp_path / "mine")]
        values.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    assert values == ["1.0", "2.0"]


def test_a_file_is_pickled_by_its_path(kit: Path, corpus: CheckedCorpus) -> None:
    import pickle

    file = store(kit).features_of(corpus)
    file.read([0])
    copy = pickle.loads(pickle.dumps(file))  # noqa: S301 - made here
    assert copy == FeatureFile(file.path)
    assert len(pickle.dumps(file)) < 1000


def test_extractions_give_the_same_file_in_whatever_order_they_end(
    kit: Path, corpus: CheckedCorpus, tmp_path: Path
) -> None:
    many = Corpus("many", corpus.labels, tuple(clips_times(corpus, 20, tmp_path)))
    checked = check_audio(many)
    recipe = discover((kit,)).get("features", "blocks").recipe({})
    one = FeatureStore(recipe, (kit,), tmp_path / "one").features_of(checked)
    two = FeatureStore(recipe, (kit,), tmp_path / "two").features_of(
        checked, run_all=lambda extractions: reversed(list(run_here(extractions)))
    )
    assert one.path.read_bytes() == two.path.read_bytes()


@pytest.mark.parametrize("sizes", [(1000, 256, 2), (1000, 5, 2), (5, 9, 6), (2, 3, 3)])
def test_extractions_of_any_size_give_the_same_file_and_a_killed_one_keeps_all_but_the_last_few(
    kit: Path,
    corpus: CheckedCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sizes: tuple[int, int, int],
) -> None:
    tasks, most, size = sizes
    recipe = discover((kit,)).get("features", "crossings").recipe({})
    expected = FeatureStore(recipe, (kit,), tmp_path / "one").features_of(corpus).path.read_bytes()
    for name, value in (("_CHUNK", 2), ("_TASKS", tasks), ("_MOST", most)):
        monkeypatch.setattr(store_module, name, value)
    given: list[int] = []

    def killed(extractions: Iterable[Extraction]) -> Iterator[Extracted]:
        for extraction in extractions:
            if sum(given) > 12:
                given.append(len(list((tmp_path / "two").glob("*/part-*.f32"))))
                raise KeyboardInterrupt
            given.append(len(extraction.clips))
            yield extraction()

    with pytest.raises(KeyboardInterrupt):
        FeatureStore(recipe, (kit,), tmp_path / "two").features_of(corpus, run_all=killed)
    *given, n_parts = given
    assert set(given) == {size}
    assert n_parts == len(given) // -(-most // size)
    whole = FeatureStore(recipe, (kit,), tmp_path / "two").features_of(corpus)
    assert whole.path.read_bytes() == expected
    assert not list(whole.path.parent.glob("part-*"))


def clips_times(corpus: CheckedCorpus, times: int, folder: Path) -> list[Clip]:
    """Copies of a corpus's clips that differ in one byte each."""
    clips = []
    for number in range(times):
        for row, clip in enumerate(corpus.clips):
            path = folder / f"{number}-{row}.wav"
            data = bytearray(clip.path.read_bytes())
            data[100] = number
            path.write_bytes(bytes(data))
            clips.append(Clip(f"{number}-{row}", path, clip.label))
    return clips


def test_the_store_says_what_it_holds_and_can_be_cleared(kit: Path, corpus: CheckedCorpus) -> None:
    store(kit).features_of(corpus)
    store(kit, "crossings").features_of(corpus)
    assert {use.extractor for use in store_use()} == {"blocks", "crossings"}
    assert clear_store("blocks") > 0
    assert [use.extractor for use in store_use()] == ["crossings"]
    clear_store()
    assert store_use() == []


def test_an_extractor_whose_code_changed_since_planning_is_refused(kit: Path) -> None:
    recipe = replace(discover((kit,)).get("features", "blocks").recipe({}), source="another")
    with pytest.raises(PluginError, match="has changed since the run was planned"):
        FeatureStore(recipe, (kit,))


def test_audio_that_changes_between_check_and_extraction_is_refused(kit: Path, corpus: CheckedCorpus) -> None:
    corpus.clips[0].path.write_bytes(corpus.clips[-1].path.read_bytes())
    with pytest.raises(StorageError, match=r"audio file .*wav changed during the run; run the same command"):
        store(kit).features_of(corpus)


def test_parts_of_another_extraction_are_left_alone(kit: Path, corpus: CheckedCorpus) -> None:
    theirs = store(kit)
    theirs._write_part({"another clip": ExtractedClip(np.zeros((3, 2), np.float32), 0.1)})
    store(kit).features_of(corpus)
    assert len(list(theirs.folder.glob("part-*.f32"))) == 1


def test_what_a_killed_process_had_half_written_is_removed(kit: Path, corpus: CheckedCorpus) -> None:
    half = store(kit).folder / ".part-1.f32.a1b2c3"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    store(kit).features_of(corpus)
    assert not half.exists()


def test_what_a_clip_took_is_kept_also_in_a_file_made_of_others(kit: Path, corpus: CheckedCorpus) -> None:
    some = store(kit).features_of(part_of(corpus, 10))
    every = store(kit).features_of(corpus)
    assert [every.seconds_of(position) for position in range(10)] == [
        some.seconds_of(position) for position in range(10)
    ]
    assert 0 < every.seconds_per_clip < 1


@pytest.fixture(params=["memory://bucket/features", "file://{}/place", "{}/place"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A place that machines share."""
    address = str(request.param).format(tmp_path)
    monkeypatch.setenv("MARSBENCH_FEATURES", address)
    yield address
    files, root = fsspec.core.url_to_fs(address)
    files.rm(root, recursive=True)


def entries(place: str, suffix: str) -> list[tuple[Any, str]]:
    """File system and path of what lies there."""
    files, root = fsspec.core.url_to_fs(place)
    return [(files, path) for path in files.find(root) if path.endswith(suffix)]


def another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on nothing is stored on this machine."""
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "another machine"))


def test_another_machine_finds_features_at_the_shared_place(
    kit: Path, corpus: CheckedCorpus, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = store(kit).features_of(corpus).read(range(30)).values
    another_machine(monkeypatch, tmp_path)
    no_extraction(monkeypatch, kit)
    listening = Listening()
    found = store(kit).features_of(corpus, listening)
    assert np.array_equal(found.read(range(30)).values, expected)
    assert listening.lines == [f"blocks: all 30 clips from {place}"]


@pytest.mark.usefixtures("place")
def test_a_task_fetches_the_features_that_its_machine_lacks(
    kit: Path, corpus: CheckedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store(kit).features_of(corpus)
    expected, task = file.array(3).tolist(), pickle.dumps(file)
    (tmp_path / "home").rename(tmp_path / "away")
    another_machine(monkeypatch, tmp_path)
    monkeypatch.delenv("MARSBENCH_FEATURES")
    assert pickle.loads(task).array(3).tolist() == expected  # noqa: S301 - made above


@pytest.mark.parametrize("suffix", [".f32", ".json"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:-1], None],
    ids=["changed", "cut", "gone"],
)
def test_what_is_damaged_or_missing_at_the_shared_place_is_never_used(
    suffix: str,
    damage: Callable[[bytes], bytes] | None,
    kit: Path,
    corpus: CheckedCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = str(tmp_path / "place")
    monkeypatch.setenv("MARSBENCH_FEATURES", place)
    before = store(kit).features_of(corpus).read(range(30)).values
    ((files, path),) = entries(place, suffix)
    content = files.cat_file(path)
    files.rm_file(path)
    if damage is not None:
        files.pipe_file(path, damage(content))
    another_machine(monkeypatch, tmp_path)
    assert np.array_equal(store(kit).features_of(corpus).read(range(30)).values, before)
    assert entries(place, suffix)[0][0].cat_file(path) == content or suffix == ".json"


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("nonsense://x", ConfigError, r"^MARSBENCH_FEATURES=nonsense://x is no place for features: "),
        (
            "{}/file/place",
            StorageError,
            r"^features at .*/file/place \(MARSBENCH_FEATURES\) cannot be ",
        ),
    ],
)
def test_a_place_that_is_none_is_one_line(
    address: str,
    error: type[Exception],
    message: str,
    kit: Path,
    corpus: CheckedCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MARSBENCH_FEATURES", address.format(tmp_path))
    with pytest.raises(error, match=message):
        store(kit).features_of(corpus)
