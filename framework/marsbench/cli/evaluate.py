"""`bench evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from marsbench.cli.options import Given, Json, Plugins, Settings, registry_of, takes
from marsbench.cli.output import print_json, warn
from marsbench.config import parse_settings
from marsbench.data.corpus_options import Reading


@takes(Reading)
def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by bench export.")],
    data: Annotated[
        list[str],
        typer.Option(
            metavar="NAME|PATH",
            help="Labelled clips: a dataset, a folder or a table; several are joined over common classes.",
        ),
    ],
    given: Given,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ATTRIBUTE", help="Scores by this attribute of the corpus too. May be repeated."
        ),
    ] = None,
    settings: Settings = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Score a bundle on labelled clips, beside what its run promised.

    Every clip whose class the bundle knows is predicted as by bench predict. Says whether the score lies
    inside the interval that the bundle's run promised.

    Examples:
        bench evaluate bundle --data PATH --by speaker
    """
    from marsbench.deployment.bundle_files import read_bundle, read_bundle_record, read_samples
    from marsbench.deployment.evaluate import evaluate as evaluate_bundle
    from marsbench.planning.plans import checked_corpus
    from marsbench.report import evaluation
    from marsbench.report.terminal.console import TerminalProgress, out

    read_bundle_record(bundle)  # what is no bundle is told before any audio is read
    registry, reading = registry_of(plugins), Reading.parse({}, typed=given)
    with TerminalProgress() as progress:
        corpus = checked_corpus(registry, data, parse_settings(settings), progress, reading=reading)
        corpus.require_attributes(by or ())
        loaded = read_bundle(bundle, registry, progress)
        samples = read_samples(bundle, loaded.record)
        found = evaluate_bundle(loaded, corpus, samples, progress)
    if as_json:
        print_json(evaluation.values(found, by or ()))
        for note in evaluation.notes(found):
            warn(note)
    else:
        out.print(evaluation.tables(found, by or ()))
