"""The shell command that repeats a run, made from its record alone."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from marsbench.config import Experiment, Fusion
from marsbench.errors import PluginError
from marsbench.options import options_of, setting_text
from marsbench.plugin.registry import Kind, Recipe, discover
from marsbench.protocols.apply import builtin_protocol
from marsbench.results.schema import EnsembleRecord, Standing


class Reproduction(NamedTuple):
    """How a run, or a configuration's runs with several seeds, can be repeated."""

    commands: tuple[str, ...]
    """Shell commands; more than one only where seeds do not follow each other."""
    notes: tuple[str, ...]
    """What the record does not hold, so that the reader has to see to it."""


def reproduce(run: Standing, seeds: Sequence[int] = ()) -> Reproduction:
    """The command for a run's seed, or for several `seeds` of its configuration."""
    if run.ensemble is not None:
        return _fused(run, run.ensemble)
    settings, unsayable = _settings(run)
    asked = {
        "features": [run.features.name],
        "model": [run.model.name],
        "data": asked_data(run.corpus.datasets)[0],
        "protocol": [run.protocol.name],
        "set": settings,
        "criteria": run.criteria,
        "independent_clips": run.independent_clips,
        "threads": run.threads,
        **dict(run.corpus.reading),
        "normalise": run.normalise,
        "versions": run.versions and list(run.versions.kinds),
        "average_versions": bool(run.versions and run.versions.averaged),
        **_tuning(run),
    }
    commands = [
        command("bench run", Experiment, asked | {"seed": first, "repeats": count}, ("data", "protocol"))
        for first, count in _blocks(seeds or [run.seed])
    ]
    return Reproduction(tuple(commands), (*_notes(run), *unsayable))


def _fused(run: Standing, ensemble: EnsembleRecord) -> Reproduction:
    asked = {
        "runs": [member.run_id for member in ensemble.members],
        "choose": ensemble.chosen != "by hand",
        "equal": ensemble.inner_folds == 0,
        "inner_folds": ensemble.inner_folds or 1,
        "criteria": run.criteria,
        "independent_clips": run.independent_clips,
    }
    note = "its members must be among the results: bench show MEMBER tells how each is made"
    return Reproduction((command("bench ensemble", Fusion, asked),), (note,))


def command(name: str, model: type[BaseModel], values: Mapping[str, Any], always: Sequence[str] = ()) -> str:
    """The shell command that asks for a model of these values; defaults are left out unless in `always`."""
    words = name.split()
    for option in options_of(model).values():
        value = values.get(option.name, option.field.default)
        if value == option.field.default and option.name not in always:
            continue
        if option.kind is bool:
            words.append(f"--{option.key}")
            continue
        for text in option.texts(value):
            words += [text] if option.hint.is_argument else [f"--{option.key}", text]
    return shlex.join(words)


def _tuning(run: Standing) -> dict[str, Any]:
    if run.tuning is None:
        return {"trials": 0}
    asked = run.tuning.asked
    return asked.model_dump() | ({"trials": None} if asked.is_endless and asked.time_budget else {})


def _blocks(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """First seed and length of each row of consecutive seeds."""
    blocks: list[tuple[int, int]] = []
    for seed in sorted(seeds):
        if blocks and seed == sum(blocks[-1]):
            blocks[-1] = blocks[-1][0], blocks[-1][1] + 1
        else:
            blocks.append((seed, 1))
    return blocks


def _settings(run: Standing) -> tuple[dict[str, Any], list[str]]:
    """All that was set and can be written as `--set`, and a line on each value that cannot."""
    settings: dict[str, Any] = {}
    unsayable: list[str] = []
    for name, value in (_of_dataset(run) | run.settings).items():
        try:
            setting_text(name, value)
        except ValueError:
            unsayable.append(f"{name} was {value!r}, which --set cannot say: it must be the plugin's default")
        else:
            settings[name] = value
    return settings, unsayable


def _of_dataset(run: Standing) -> dict[str, Any]:
    """The datasets' parameters, without those that an installed plugin has by default."""
    defaults: dict[str, Any] = {}
    for dataset in run.corpus.datasets:
        with suppress(PluginError):
            own = discover(()).get("datasets", dataset.name).plugin.parameter_defaults()
            defaults |= {f"{dataset.name}.{name}": value for name, value in own.items()}
    return {
        name: value
        for name, value in asked_data(run.corpus.datasets)[1].items()
        if name not in defaults or defaults[name] != value
    }


def asked_data(datasets: Sequence[Recipe]) -> tuple[list[str], dict[str, Any]]:
    """What `data` and `set` of an experiment have to be for these datasets.

    Settings are of a plugin, so of two corpora of one plugin each is named by its path.
    """
    counts = Counter(dataset.name for dataset in datasets)
    words: list[str] = []
    settings: dict[str, Any] = {}
    for dataset in datasets:
        root = dataset.parameters.get("root")
        by_path = counts[dataset.name] > 1 and isinstance(root, str) and root
        words.append(str(root) if by_path else dataset.name)
        settings |= {
            f"{dataset.name}.{name}": value
            for name, value in dataset.parameters.items()
            if not (by_path and name == "root")
        }
    return words, settings


def _notes(run: Standing) -> Iterator[str]:
    """What the reader has to see to."""
    data, settings = asked_data(run.corpus.datasets)[0], _of_dataset(run) | run.settings
    plugins: list[tuple[Kind, str]] = [("datasets", one.name) for one in run.corpus.datasets]
    plugins += [("features", run.features.name), ("models", run.model.name)]
    strange = dict.fromkeys(name for kind, name in plugins if name not in discover(()).names(kind))
    if strange:
        yield f"not among the installed plugins: {', '.join(strange)}; add --plugins with the folder"
    built_in = builtin_protocol(run.protocol.name)
    if built_in is None or run.protocol.description not in {"", built_in.description}:
        yield f"{run.protocol.name} was a protocol's file: write the file's path behind --protocol"
    for name, value in [*settings.items(), *(("data", place) for place in data)]:
        if isinstance(value, str) and _is_path(name, value):
            yield f"{name} is a path of the machine that the run was made on: write yours"
    if run.corpus.held_out:
        n_clips = len(run.corpus.held_out)
        yield f"{n_clips:,} clips were held out of its corpus by bench search; bench run takes them in"
    if run.tuning and run.tuning.asked.time_budget:
        yield "how many trials its time budget has room for depends on the machine"


def _is_path(name: str, value: str) -> bool:
    return bool(value) and (name.endswith(".root") or value.startswith("~") or Path(value).is_absolute())
