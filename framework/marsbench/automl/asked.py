"""What a search is asked for: its experiment, its words and its file."""

from pathlib import Path

from marsbench.automl.selection import SearchRecord
from marsbench.config import Experiment, Search
from marsbench.execution.executor import n_workers
from marsbench.planning.pipelines import share_encoder, usable
from marsbench.planning.plans import Plan
from marsbench.progress import Progress
from marsbench.results.keys import search_id
from marsbench.results.reproduce import command

_LONGEST_FIT, _ANY_FIT = 0.1, 30.0
"""Share of the time that one fit may take, and seconds that it may take however short the time."""


def experiment_of(asked: Search, progress: Progress) -> Experiment:
    """All pairs of extractors and models that can be used, without trials."""
    given = {name: getattr(asked, name) for name in asked.model_fields_set & Experiment.model_fields.keys()}
    if asked.cluster or n_workers(asked):  # in this process nothing has a limit
        given.setdefault("unit_timeout", max(_ANY_FIT, _LONGEST_FIT * asked.time_budget))
    given["set"] = share_encoder(asked.set, asked.features, asked.plugins, progress)
    given["features"] = asked.features or usable("features", given["set"], asked.plugins, progress)
    given["model"] = asked.model or usable("models", asked.set, asked.plugins, progress)
    given.pop("time_budget", None)  # the experiment's own is for trials alone
    return Experiment(**given, trials=0)


def path_of(asked: Search, plan: Plan) -> Path:
    """File of the record, in another folder whenever anything differs that could change what is found."""
    pipelines = [(one.features, one.model, one.hyperparameters) for one in plan.pipelines]
    name = search_id(plan.protocol.hash, pipelines, _words(asked))
    return asked.results / plan.corpus.name / plan.protocol.name / name / "search.json"


def new_record(asked: Search) -> SearchRecord:
    """The record of a search that has decided nothing yet."""
    return SearchRecord(asked=_words(asked), command=_command(asked))


def _command(asked: Search) -> str:
    try:
        return command("bench search", Search, dict(asked), ("data", "time_budget"))
    except ValueError:  # what Python said and `--set` cannot
        return ""


def _words(asked: Search) -> dict[str, object]:
    """The options that influence the result."""
    words = {"data", "protocol", "seed", "set", "objective", "time_budget", "threads", "bad_audio"}
    # Searches without versions have the names that they had before there were any.
    words |= {"versions", "average_versions"} if asked.versions else set()
    return asked.model_dump(mode="json", include=words)
