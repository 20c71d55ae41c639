"""Where units run: in this process, one after the other."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from marsbench.errors import BenchError, ConfigError
from marsbench.evaluation.unit import Unit, fit_unit
from marsbench.evaluation.unit_result import Failure, UnitResult
from marsbench.plugin.model import OnEpoch
from marsbench.progress import Advance, Progress


def run_units(units: Sequence[Unit], progress: Progress) -> Iterator[UnitResult | Failure]:
    """Results as units finish; a unit that raises gives its Failure and disturbs no other.

    Raises:
        ConfigError: a hyperparameter that was set by hand is unknown or does not fit.
    """
    for unit in units:
        yield _run(unit, progress)


def _run(unit: Unit, progress: Progress) -> UnitResult | Failure:
    with ExitStack() as stack:
        try:
            return fit_unit(unit, _epoch_bar(unit, progress, stack))
        except ConfigError:
            raise  # the user's own setting is wrong: there is nothing to record
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; it becomes a row
            return failure(error, unit.fold)


def failure(error: BaseException, fold: int | None = None) -> Failure:
    """Record of an exception; one that is no BenchError is named by its type."""
    kind = type(error).__name__
    message = str(error) if isinstance(error, BenchError) else f"{kind}: {error}"
    trace = "".join(traceback.format_exception(error))
    return Failure(fold=fold, kind=kind, message=message, traceback=trace)


def _epoch_bar(unit: Unit, progress: Progress, stack: ExitStack) -> OnEpoch:
    """A bar of epochs that opens with the first one: models without epochs show none."""
    bars: list[Advance] = []

    def on_epoch(_epoch: int, most: int, _metrics: dict[str, float]) -> None:
        if not bars:
            bars.append(stack.enter_context(progress.track(f"fold {unit.fold + 1}, epochs", most)))
        bars[0](1)

    return on_epoch
