"""Decisions of a search in `search.json` of its folder: a rerun resumes from there."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from marsbench.atomic_files import read_record, write_checksummed


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Pipeline(_Record):
    features: str
    model: str

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return f"{self.features} + {self.model}"


class ScreeningResult(_Pipeline):
    """Screening of one pipeline: its score on one hold-out inside the first fold's training clips."""

    score: float | None = None
    """Value of the objective; None if there is no fit."""
    epochs: int | None = None
    """Epochs that it was fitted for; None for a model without epochs."""
    seconds: float = 0.0
    """Seconds of its fits."""
    reason: str = ""
    """Why it was dropped; "" for one of the shortlist."""


class HoldoutScore(_Pipeline):
    """Mean score of one pipeline on hold-outs inside each fold's training clips."""

    score: float
    seconds: float
    """Seconds of one fold's fit and prediction, on average."""


class Winner(_Record):
    """The run with the best inner score."""

    run_id: str
    score: float
    """The inner score that it was chosen by; no test clip is in it."""


class SearchRecord(_Record):
    """Decisions in their order; None for those that are still to be made."""

    schema_version: Literal[1] = 1
    asked: dict[str, Any]
    looked: list[ScreeningResult] | None = None
    held_out: list[HoldoutScore] | None = None
    finalists: list[str] | None = None
    """Names of the pipelines that became runs."""
    trials: dict[str, float] = {}
    """Seconds for the trials of finalists, by name; 0 where there was no time for them."""
    winner: Winner | None = None


def read_search(path: Path) -> SearchRecord:
    """The record in a file; raises ResultsError if it is missing, damaged or not of this version."""
    return read_record(path, SearchRecord)


def write_search(path: Path, record: SearchRecord) -> None:
    """Keep it."""
    write_checksummed(path, record.model_dump_json(indent=1))
