"""The Dockerfile, as far as it can be held without Docker."""

import json
import re
import tomllib
from pathlib import Path

import typer.main

from marsbench.cli.main import app

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")


def test_it_installs_extras_that_exist_and_copies_what_the_build_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (extras,) = re.findall(r"'\.\[([a-z,]+)\]'", TEXT)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    copied = {word for line in re.findall(r"^COPY (.+) \S+$", TEXT, re.MULTILINE) for word in line.split()}
    assert copied >= {"pyproject.toml", project["readme"], *project["license-files"], "framework", "plugins"}
    kept = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE))
    assert copied <= kept
    assert all((ROOT / name).exists() for name in copied)


def test_what_it_runs_by_default_is_a_command_line_of_bench() -> None:
    (words,) = re.findall(r"^CMD (.+)$", TEXT, re.MULTILINE)
    name, *rest = json.loads(words)
    command = typer.main.get_command(app).get_command(None, name)  # type: ignore[attr-defined]  # a group
    assert command.make_context(name, rest, resilient_parsing=False).params["host"] == "0.0.0.0"  # noqa: S104 - inside a container
