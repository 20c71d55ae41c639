"""The members of an ensemble fitted again, with the weights that they had."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from marsbench.data.corpus import CheckedCorpus
from marsbench.deployment.bundle import Bundle, EnsembleBundle
from marsbench.deployment.bundle_record import BundledMember, EnsembleBundleRecord
from marsbench.deployment.refit import fold_of, origin_of, refit, refit_fold, tell_if_otherwise
from marsbench.environment import environment
from marsbench.errors import ResultsError
from marsbench.plugin.registry import Registry
from marsbench.progress import Progress, Silent
from marsbench.results.schema import EnsembleRecord, Run
from marsbench.results.store import RunFolder
from marsbench.runner.reload import members_of, require_complete

_Made = TypeVar("_Made")


def refit_ensemble(
    folder: RunFolder, corpus: CheckedCorpus, registry: Registry, progress: Progress | None = None
) -> EnsembleBundle:
    """Every member fitted on all clips of the corpus, as `refit` does.

    The weights are the means over folds of those that the run found: they were fitted on clips that the
    members had not been trained on, of which none are left here.

    Args:
        folder: of a complete ensemble.
        corpus: `corpus_of` it.
        registry: where the members' plugins are.
        progress: told what is under way.

    Raises:
        ResultsError: the run is not complete, a member is gone, or a plugin is no longer what it was.
    """
    run, ensemble = _opened(folder)

    def fit(member: RunFolder) -> Bundle:
        return refit(member.read_run(), corpus, registry, progress)

    bundles = _of_each(members_of(folder, run), fit, progress)
    return _fused(run, ensemble, bundles, np.mean(ensemble.weights, axis=0).tolist())


def refit_ensemble_fold(
    folder: RunFolder,
    number: int,
    corpus: CheckedCorpus,
    registry: Registry,
    progress: Progress | None = None,
) -> EnsembleBundle:
    """The members' models of one fold, as `refit_fold` makes them, with the weights of that fold.

    `progress` is told if they do not answer the fold's test clips as they did in their runs and together.

    Args:
        folder: of a complete ensemble.
        number: of the fold, from 1.
        corpus: `corpus_of` it.
        registry: where the members' plugins are.
        progress: told what is under way.

    Raises:
        ConfigError: there is no such fold.
        ResultsError: as `refit_ensemble`; or the protocol is no longer what it was.
    """
    run, ensemble = _opened(folder)
    fold = fold_of(run, number)
    fit = partial(refit_fold, number=number, corpus=corpus, registry=registry, progress=progress)
    fits = _of_each(members_of(folder, run), fit, progress)
    bundle = _fused(run, ensemble, [made.bundle for made in fits], ensemble.weights[fold], fold)
    fused = bundle.fuse(np.stack([made.probabilities for made in fits]))
    tell_if_otherwise(folder, number, fits[0].clips, fused, progress)
    return bundle


def _opened(folder: RunFolder) -> tuple[Run, EnsembleRecord]:
    run = folder.read_run()
    if run.ensemble is None:
        raise ResultsError(f"{run.run_id} is no ensemble")
    require_complete(run)
    return run, run.ensemble


def _of_each(
    members: Sequence[RunFolder], fit: Callable[[RunFolder], _Made], progress: Progress | None
) -> list[_Made]:
    made = []
    for number, member in enumerate(members, 1):
        told = f"Member {number} of {len(members)}, {member.path.name}"
        with (progress or Silent()).track(told, 1) as advance:
            made.append(fit(member))
            advance(1)
    return made


def _fused(
    run: Run,
    ensemble: EnsembleRecord,
    bundles: Sequence[Bundle],
    weights: Sequence[float],
    fold: int | None = None,
) -> EnsembleBundle:
    records = [bundle.record for bundle in bundles]
    record = EnsembleBundleRecord(
        labels=records[0].labels,
        sample_rate=max(record.sample_rate for record in records),
        corpus=records[0].corpus,
        origin=origin_of(run),
        fold=fold,
        environment=environment(),
        fusion="log_pool" if ensemble.inner_folds else "mean",
        members=[
            BundledMember(title=record.title, run_id=member.run_id, weight=weight)
            for record, member, weight in zip(records, ensemble.members, weights, strict=True)
        ],
    )
    return EnsembleBundle(record, tuple(bundles), bundles[0].folders)
