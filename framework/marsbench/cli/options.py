"""Options of commands, made from the fields of a model, and what several commands share."""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from marsbench.config import Experiment
from marsbench.options import Option, options_of
from marsbench.plugin.registry import Registry, discover, drop_in_folders

Command = Callable[..., None]
Given = dict[str, Any]
"""What a user gave on a command line, by the keys that a TOML file has."""


def takes(model: type[BaseModel], *only: str) -> Callable[[Command], Command]:
    """Give a command the options of a model, all or those of some names.

    They stand where the command has its parameter `given`, which gets what the user gave.
    """
    options = [option for name, option in options_of(model).items() if not only or name in only]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_options(**values: Any) -> None:
            typed = {option.key: values.pop(option.name) for option in options}
            command(**values, given={key: value for key, value in typed.items() if value is not None})

        own = signature(command)
        made = [_parameter(option) for option in options]
        parameters = [
            one
            for name, parameter in own.parameters.items()
            for one in (made if name == "given" else [parameter.replace(kind=Parameter.KEYWORD_ONLY)])
        ]
        # Typer reads both.
        with_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_options

    return decorate


def _parameter(option: Option) -> Parameter:
    plain = {bool: bool, int: int, Path: Path}.get(option.kind, str) if option.hint.texts is None else str
    kind: Any = list[str] if option.is_repeated else plain
    is_needed = option.hint.is_argument and option.field.is_required()
    annotation: Any = Annotated[kind if is_needed else kind | None, declared(option)]
    default = Parameter.empty if is_needed else None
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def declared(option: Option) -> Any:
    """What Typer has to know of an option beside its type."""
    if option.hint.is_argument:
        return typer.Argument(metavar=option.metavar, help=_help(option))
    return typer.Option(
        f"--{option.key}",
        metavar=option.metavar or None,
        help=_help(option),
        parser=folder if option.kind is Path else None,
        show_default=False,
    )


def _help(option: Option) -> str:
    repeated = " May be repeated." if option.is_repeated and not option.hint.is_argument else ""
    default = f" [default: {option.default}]" if option.default else ""
    return f"{option.field.description}{repeated}{default}"


def folder(text: str | Path) -> Path:
    """A path; an empty text (of an unset variable, say) is refused, not taken for the working directory."""
    if not str(text):
        raise typer.BadParameter("a folder is needed")
    return Path(text)


_SHARED = options_of(Experiment)
Results = Annotated[Path, declared(_SHARED["results"])]
Plugins = Annotated[list[Path] | None, declared(_SHARED["plugins"])]
CriteriaOption = Annotated[list[str] | None, declared(_SHARED["criteria"])]
Settings = Annotated[list[str] | None, declared(_SHARED["set"])]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Also repeat fits that failed earlier.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Tell at the end how long each phase took.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Run id, its beginning, or the run's folder.")]

DEFAULT_RESULTS = Path("results")


def registry_of(plugins: Iterable[Path] | None) -> Registry:
    """Plugins that are installed, in `./plugins` or in the folders given."""
    return discover(drop_in_folders(plugins or ()))
