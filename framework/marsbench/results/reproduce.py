"""The shell line that makes a run again, told from its record alone."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marsbench.config import Criteria, Experiment, Tuning, parse_setting
from marsbench.errors import PluginError
from marsbench.plugin.registry import KINDS, discover
from marsbench.protocols.apply import builtin_protocol
from marsbench.results.schema import EnsembleRecord, Standing

_DEFAULTS = {name: field.default for name, field in Experiment.model_fields.items()}
_BARE = re.compile(r"[A-Za-z_/][\w./+-]*", re.ASCII)
"""Texts that need quotes in no shell."""


class Reproduction(NamedTuple):
    """How a run, or a configuration's runs with several seeds, can be made once more."""

    commands: tuple[str, ...]
    """Shell lines; more than one only where seeds do not follow each other."""
    notes: tuple[str, ...]
    """What the record does not hold, so that the reader has to see to it."""


def reproduce(run: Standing, seeds: Sequence[int] = ()) -> Reproduction:
    """The line for a run's seed, or for several `seeds` of its configuration."""
    if run.ensemble is not None:
        return _fused(run, run.ensemble)
    settings, unsayable = _settings(run)
    head = ["bench", "run", "--features", run.features.name, "--model", run.model.name]
    head += ["--data", run.corpus.dataset.name, "--protocol", run.protocol.name]
    tail = [*_tuning(run.tuning.asked if run.tuning else None), *_option("threads", run.threads)]
    tail += [*settings, *_criteria(run.criteria)]
    commands = [
        shlex.join([*head, *_option("seed", first), *_option("repeats", count), *tail])
        for first, count in _blocks(seeds or [run.seed])
    ]
    return Reproduction(tuple(commands), (*_notes(run), *unsayable))


def _fused(run: Standing, ensemble: EnsembleRecord) -> Reproduction:
    words = ["bench", "ensemble", *(member.run_id for member in ensemble.members)]
    words += ["--equal"] if ensemble.inner_folds == 0 else []
    words += ["--inner-folds", str(ensemble.inner_folds)] if ensemble.inner_folds > 1 else []
    note = "its members must be among the results: bench show MEMBER tells how each is made"
    return Reproduction((shlex.join([*words, *_criteria(run.criteria)]),), (note,))


def _option(name: str, value: object) -> list[str]:
    """The option, unless it is at its default."""
    return [] if value == _DEFAULTS[name.replace("-", "_")] else [f"--{name}", str(value)]


def _tuning(asked: Tuning | None) -> list[str]:
    if asked is None:
        return ["--trials", "0"]
    words = [] if asked.is_endless and asked.time_budget else ["--trials", str(asked.trials)]
    words += [*_option("tuner", asked.tuner), *_option("objective", asked.objective)]
    # Its default depends on the model.
    words += ["--inner-folds", str(asked.inner_folds)]
    if asked.time_budget is not None:
        words += ["--time-budget", f"{repr(asked.time_budget).removesuffix('.0')}s"]
    return words


def _criteria(criteria: Criteria) -> list[str]:
    usual = Criteria().model_dump()
    changed = {name: value for name, value in criteria.model_dump().items() if value != usual[name]}
    return [word for name, value in changed.items() for word in ("--criteria", f"{name}={value!r}")]


def _blocks(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """First seed and number of each row of seeds that follow each other."""
    blocks: list[tuple[int, int]] = []
    for seed in sorted(seeds):
        if blocks and seed == sum(blocks[-1]):
            blocks[-1] = blocks[-1][0], blocks[-1][1] + 1
        else:
            blocks.append((seed, 1))
    return blocks


def _settings(run: Standing) -> tuple[list[str], list[str]]:
    """`--set` words for all that was set, and lines on what no word can say."""
    words: list[str] = []
    unsayable: list[str] = []
    for name, value in (_of_dataset(run) | run.settings).items():
        try:
            words += ["--set", setting(name, value)]
        except ValueError:
            unsayable.append(f"{name} was {value!r}, which --set cannot say: it must be the plugin's default")
    return words, unsayable


def _of_dataset(run: Standing) -> dict[str, Any]:
    """The dataset's parameters, without those that an installed plugin has by default."""
    dataset = run.corpus.dataset
    defaults = _dataset_defaults(dataset.name)
    changed = {k: v for k, v in dataset.parameters.items() if k not in defaults or defaults[k] != v}
    return {f"{dataset.name}.{name}": value for name, value in changed.items()}


def _dataset_defaults(name: str) -> Mapping[str, Any]:
    try:
        return discover(()).get("datasets", name).plugin.parameter_defaults()
    except PluginError:
        return {}


def setting(name: str, value: object) -> str:
    """`NAME.PARAMETER=VALUE`, from which `parse_setting` gets the same.

    Raises:
        ValueError: TOML has no such value.
    """
    if isinstance(value, str) and _BARE.fullmatch(value) and parse_setting(f"{name}={value}")[1] == value:
        return f"{name}={value}"
    return f"{name}={_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, str):
        # JSON escapes what TOML does, but for this one.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(key)} = {_toml(item)}' for key, item in value.items())}}}"
    raise ValueError(value)


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
    if run.tuning and run.tuning.asked.time_budget:
        yield "how many trials its time budget has room for depends on the machine"


def _is_path(name: str, value: str) -> bool:
    return bool(value) and (name.endswith(".root") or value.startswith("~") or Path(value).is_absolute())
