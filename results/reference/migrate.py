"""Carry over, once, runs made before the redesign: today's identity of their plugins, and the ids from it.

    python results/reference/migrate.py RESULTS [RESULTS ...]

A plugin that was, by its old source hash, that of the last commit before the redesign gets today's identity
of the same plugin, since its computing code has not changed; any other keeps its old hash and counts as made
by other code. The pages beside the runs get the new short ids.
"""  # noqa: INP001 - a script beside what it changes

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from marsbench.plugin.registry import Kind, Recipe, discover
from marsbench.results.keys import PipelineKey, ensemble_id
from marsbench.results.schema import Run
from marsbench.results.store import RunFolder, find_runs

OLD_SOURCES: dict[str, str] = json.loads(Path(__file__).with_name("old_sources.json").read_text("utf-8"))
REGISTRY = discover(())


def carried(recipe: Recipe, kind: Kind) -> Recipe:
    """The recipe with today's identity, if its plugin was that of the last commit before."""
    known = recipe.name in REGISTRY.names(kind) and OLD_SOURCES.get(recipe.name) == recipe.source
    return replace(recipe, source=REGISTRY.get(kind, recipe.name).source) if known else recipe


def hyperparameters(model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of the model that its constructor does not take."""
    own = {name.partition(".")[2]: value for name, value in settings.items() if name.startswith(f"{model}.")}
    arguments = REGISTRY.get("models", model).plugin.parameter_defaults()
    return {name: value for name, value in own.items() if name not in arguments}


def with_todays_plugins(run: Run, ids: dict[str, str]) -> Run:
    """The record with today's recipes and id."""
    corpus = run.corpus.model_copy(update={"dataset": carried(run.corpus.dataset, "datasets")})
    if run.ensemble is not None:
        return with_todays_members(run.model_copy(update={"corpus": corpus}), ids)
    features, model = carried(run.features, "features"), carried(run.model, "models")
    by_hand = hyperparameters(model.name, run.settings)
    key = PipelineKey(run.protocol.hash, features, model, by_hand, run.seed, run.threads)
    run_id = key.run_id(run.tuning.asked if run.tuning else None)
    return run.model_copy(update={"corpus": corpus, "features": features, "model": model, "run_id": run_id})


def with_todays_members(run: Run, ids: dict[str, str]) -> Run:
    """An ensemble's record with the new ids of its members, in their new order."""
    ensemble = run.ensemble
    if ensemble is None:
        raise TypeError(run.run_id)
    old = [member.run_id for member in ensemble.members]
    order = sorted(range(len(old)), key=lambda position: ids[old[position]])
    members = [ensemble.members[n].model_copy(update={"run_id": ids[old[n]]}) for n in order]
    weights = [[of_fold[n] for n in order] for of_fold in ensemble.weights]
    kind = f"{run.features.name}-{run.model.name}"
    run_id = ensemble_id(run.protocol.hash, kind, [member.run_id for member in members], ensemble.inner_folds)
    return run.model_copy(
        update={
            "run_id": run_id,
            "ensemble": ensemble.model_copy(update={"members": members, "weights": weights}),
            "hyperparameters": [
                {ids[name]: value for name, value in of_fold.items()} for of_fold in run.hyperparameters
            ],
        }
    )


def main(roots: list[str]) -> None:
    """Carry all runs below some results folders over, ensembles after their members, then the pages."""
    ids: dict[str, str] = {}
    for root in map(Path, roots):
        folders = sorted(find_runs(root), key=lambda folder: folder.path.name.startswith("ensemble-"))
        for folder in folders:
            run = with_todays_plugins(folder.read_run(), ids)
            ids[folder.path.name] = run.run_id
            target = RunFolder(folder.path.with_name(run.run_id))
            folder.path.rename(target.path)
            target.write_run(run)
        for page in root.glob("*.md"):
            text = page.read_text("utf-8")
            for old, new in ids.items():
                text = text.replace(old, new).replace(f"`{old[-12:-6]}`", f"`{new[-12:-6]}`")
            page.write_text(text, "utf-8")
    sys.stdout.write(f"{len(ids)} runs, {sum(old != new for old, new in ids.items())} renamed\n")
    Path(sys.argv[0]).with_name("ids.json").write_text(json.dumps(ids, indent=1), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
