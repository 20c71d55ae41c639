"""The shell command that repeats a run, made from its record alone."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from marsbench.config import Experiment, Fusion
from marsbench.errors import PluginError
from marsbench.options import options_of, setting_text
from marsbench.plugin.registry import KINDS, discover
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
        "data": run.corpus.dataset.name,
        "protocol": [run.protocol.name],
        "set": settings,
        "criteria": run.criteria,
        "independent_clips": run.independent_clips,
        "threads": run.threads,
        **dict(run.corpus.reading),
        "normalise": run.normalise,
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
    """The dataset's parameters, without those that an installed plugin has by default."""
    dataset = run.corpus.dataset
    try:
        defaults = discover(()).get("datasets", dataset.name).plugin.parameter_defaults()
    except PluginError:
        defaults = {}
    return {
        f"{dataset.name}.{name}": value
        for name, value in dataset.parameters.items()
        if name not in defaults or defaults[name] != value
    }


def _notes(run: Standing) -> Iterator[str]:
    """What the reader has to see to."""
    plugins = zip(KINDS, (run.corpus.dataset.name, run.features.name, run.model.name), strict=True)
    strange = dict.fromkeys(name for kind, name in plugins if name not in discover(()).names(kind))
    if strange:
        yield f"not among the installed plugins: {', '.join(strange)}; add --plugins with the folder"
    built_in = builtin_protocol(run.protocol.name)
    if built_in is None or run.protocol.description not in {"", built_in.description}:
        yield f"{run.protocol.name} was a protocol's file: write the file's path behind --protocol"
    for name, value in (_of_dataset(run) | run.settings).items():
        if isinstance(value, str) and _is_path(name, value):
            yield f"{name} is a path of the machine that the run was made on: write yours"
    if run.corpus.held_out:
        n_clips = len(run.corpus.held_out)
        yield f"{n_clips:,} clips were held out of its corpus by bench search; bench run takes them in"
    if run.tuning and run.tuning.asked.time_budget:
        yield "how many trials its time budget has room for depends on the machine"


def _is_path(name: str, value: str) -> bool:
    return bool(value) and (name.endswith(".root") or value.startswith("~") or Path(value).is_absolute())
