"""The framework's own part in what runs, cached features and plugins are known by: small numbers.

A person raises a number with a change of the code behind it that changes results. Until then, rewording and
rearranging the framework keeps finished runs and cached features valid. tests/unit/test_versions.py holds the
digest of that code: it fails when the code changes, and says what to do.
"""

from typing import NamedTuple


class Part(NamedTuple):
    """Code of the framework that has one version."""

    version: int
    code: tuple[str, ...]
    """MODULE or MODULE:NAME, below `marsbench`; all that they name belongs to it too.

    Classes of objects that they are given must be listed: an annotation names nothing.
    """


KEYS = {
    "audio_facts": Part(3, ("data.audio_validation:examine",)),
    "duplicates": Part(3, ("data.duplicates:near_duplicates",)),
    "extraction": Part(
        1,
        ("features.store:FeatureStore", "features.extraction:Extraction", "features.extraction:Examination"),
    ),
    "clip_versions": Part(1, ("features.clip_versions",)),
    "fit": Part(
        1,
        (
            *("evaluation.fit", "features.feature_file:FeatureFile"),
            *("protocols.splitting", "protocols.inner_splits"),
            *("plugin.features", "plugin.model", "plugin.search_space"),
        ),
    ),
    "tuning": Part(1, ("tuning.tuned_or_untuned:paired_gain", "evaluation.predictions:Predictions")),
    "ensembling": Part(1, ("evaluation.ensembling",)),
    "ties": Part(2, ("results.leaderboard:_known_ties",)),
    "metrics": Part(2, ("evaluation.scoring:scores_of",)),
}
"""In keys of what is kept: facts on audio, duplicates, features, fits and runs, tuned runs, and more."""

OFFERED = {
    "datasets": Part(
        1,
        (
            *("plugin.base:Dataset", "data.corpus", "data.labels", "data.reading:found_in"),
            *("data.download:unpack", "data.download:Archive", "data.folders:files_below"),
            "data.tables:table_of_dataset",
        ),
    ),
    "features": Part(1, ("plugin.features", "data.audio")),
    "encoders": Part(
        1,
        (
            *(f"features.pretrained:{name}" for name in ("EncoderFile", "KNOWN", "find_encoder")),
            "plugin.onnx:onnx_session",
        ),
    ),
    "models": Part(1, ("plugin.model", "plugin.search_space")),
    "sklearn": Part(2, ("plugin.sklearn",)),
    "keras": Part(1, ("plugin.keras",)),
    "hashing": Part(1, ("hashing",)),
}
"""In the identity of each plugin that uses them."""

PARTS = KEYS | OFFERED
INERT = (
    *("atomic_files", "data.corpus_options", "environment", "errors", "plugin.identity", "plugin.registry"),
    *("progress", "versions"),
)
"""Modules that compute no result: messages, files, what is found where."""


def parts_of(module: str, name: str | None) -> list[str]:
    """Parts offered to plugins that have a module below `marsbench`, or a name in it."""
    return [part for part, (_, code) in OFFERED.items() if any(_holds(entry, module, name) for entry in code)]


def _holds(entry: str, module: str, name: str | None) -> bool:
    where, _, only = entry.partition(":")
    return f"{module}.".startswith(f"{where}.") and only in {"", name}


def versions_of(*parts: str) -> list[str]:
    """What stands for some parts in a key."""
    return [f"{part} {PARTS[part].version}" for part in parts]
