"""README.md of a bundle: a model card as the Hugging Face Hub reads it, made of the bundle's record alone."""

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from marsbench.deployment.bundle_record import BaseRecord, BundleRecord, worth_phrase
from marsbench.evaluation.scores import Score

CARD = "README.md"
_TEMPLATE = Path(__file__).with_suffix(".md.j2")
_LICENCE = re.compile(r"(CC0|CC BY(?:-NC)?(?:-SA|-ND)?) (\d\.\d)")
_VERSIONS = ("marsbench", "python", "scikit-learn", "tensorflow", "keras", "librosa", "numpy")


def model_card(record: BaseRecord) -> str:
    """Markdown: data, licence, protocol, scores with intervals, by class and by group, limits.

    The YAML in front has the names that the Hugging Face Hub gives to a model's metadata.
    """
    page = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False)  # noqa: S701 - Markdown; `md` escapes
    page.filters["md"] = _escaped
    origin = record.origin
    named = {"accuracy": "accuracy", "macro_f1": "macro F1", "uar": "UAR"}
    found = {} if origin is None else origin.metrics.scores
    scores = [(title, found[name]) for name, title in named.items() if isinstance(found.get(name), Score)]
    return page.from_string(_TEMPLATE.read_text("utf-8")).render(
        record=record,
        origin=origin,
        scores=scores,
        tested=worth_phrase(origin),
        licence_id=_licence_id(record.corpus.licence),
        named=_VERSIONS,
        configuration=_configuration(record),
    )


def _configuration(record: BaseRecord) -> str:
    chosen = record.hyperparameters if isinstance(record, BundleRecord) else {}
    return ", ".join(f"{name} {value}" for name, value in sorted(chosen.items()))


def _licence_id(licence: str) -> str:
    """The Hub's identifier of a Creative Commons licence, "other" for any other text."""
    found = _LICENCE.fullmatch(licence)
    return "-".join(found.groups()).lower().replace(" ", "-") if found else "other"


def _escaped(value: Any) -> str:
    """Text that Markdown takes literally, on one line: names of classes and runs may hold anything."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(value).split()))
