"""How lucky the prototype's 80.65 % was: its recipe on other splits and seeds, with and without its peek.

The prototype trained MFCC + CNN-LSTM for 40 epochs on one random 80 % of RAVDESS and kept the epoch that was
best on the other 20 %, which it then reported. Here the same is done on several such splits, each with its
own seed: the score of the last epoch, which nobody has chosen, stands beside that of the best one.

    python benchmarks/prototype_luck.py PATH_TO_RAVDESS [N_SPLITS]        (some 3 minutes a split on one core)
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from statistics import fmean, stdev

from marsbench.config import Experiment
from marsbench.evaluation.fit import Unit, fit_unit
from marsbench.features.store import FeatureStore
from marsbench.planning.plans import make_plans
from marsbench.progress import Silent
from marsbench.runner.pipeline_job import Units

PROTOTYPE = 0.8065
N_EPOCHS = 40
RECIPE = {
    "cnn_lstm.epochs": N_EPOCHS,
    "cnn_lstm.patience": N_EPOCHS,
    "cnn_lstm.batch_size": 32,
    "cnn_lstm.dropout": 0.3,
    "cnn_lstm.norm_momentum": 0.99,
    "cnn_lstm.pooling": "last",
    "cnn_lstm.schedule": "constant",
    "cnn_lstm.learning_rate": 1e-3,
}


def units(data: str, n_splits: int) -> list[Unit]:
    """A fit for each split; the test clips are watched, as no run of marsbench would."""
    from sklearn.model_selection import StratifiedShuffleSplit

    values = {
        "features": "mfcc",
        "model": "cnn_lstm",
        "data": data,
        "protocol": "holdout80",
        "set": RECIPE,
    }
    (plan,) = make_plans(Experiment.parse(values, "prototype_luck"), Silent())
    pipeline, targets = plan.pipelines[0], plan.corpus.targets
    features = FeatureStore(pipeline.features, plan.folders).features_of(plan.corpus)
    made = []
    for seed in range(n_splits):
        splitter = StratifiedShuffleSplit(1, test_size=0.2, random_state=seed)
        train, test = next(splitter.split(targets, targets))
        unit = Units.of(plan, pipeline, seed).outer(0, features)
        made.append(
            replace(
                unit,
                train=train,
                train_targets=targets[train],
                train_groups=train,
                validation=test,
                validation_targets=targets[test],
                test=test,
                seed=seed,
            )
        )
    return made


def accuracies(unit: Unit) -> list[float]:
    """On the test clips, epoch by epoch."""
    return [epoch["val_accuracy"] for epoch in fit_unit(unit).history]


def main(data: str, n_splits: int) -> None:
    """Print a line a split, then means and spreads."""
    last, best = [], []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for seed, course in enumerate(pool.map(accuracies, units(data, n_splits))):
            last.append(course[-1])
            best.append(max(course))
            print(f"split {seed}: last epoch {last[-1]:.4f}, best epoch {best[-1]:.4f}", flush=True)
    for name, values in (("last epoch", last), ("best epoch by the test clips", best)):
        above = sum(value >= PROTOTYPE for value in values)
        print(
            f"{name}: mean {fmean(values):.4f}, standard deviation {stdev(values):.4f}, "
            f"{min(values):.4f} to {max(values):.4f}; {above} of {n_splits} reach {PROTOTYPE}"
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
