"""What the README and docs say is tried as it stands there."""

import ast
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

import marsbench
from marsbench.cli.main import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
DOCS = "".join(PAGES.values())
PLUGIN, *_ = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
PROGRAM, *_ = re.findall(r"```python\n(.*?)```", PAGES["api"], flags=re.DOTALL)
PUBLISHED = (ROOT / "results" / "reference" / "ravdess" / "README.md").read_text("utf-8")
SESSIONS = "".join(re.findall(r"```console\n(.*?)```", README + DOCS + PUBLISHED, flags=re.DOTALL)).replace(
    "\\\n", ""
)
COMMANDS = dict.fromkeys(re.findall(r"^(?:.*bin/)?(bench .*)$", SESSIONS, flags=re.MULTILINE))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
PICTURES = ROOT / "docs" / "pictures"


@pytest.fixture
def plugin(home: Path) -> str:
    """The README's plugin, saved where it says."""
    path = home.parent / "plugins" / "features" / "loudness.py"
    path.parent.mkdir(parents=True)
    path.write_text(PLUGIN)
    return path.stem


def test_the_plugin_is_short() -> None:
    assert len([line for line in PLUGIN.splitlines() if line]) <= 12


def test_the_plugin_passes_its_check(bench: Callable[..., Any], plugin: str) -> None:
    result = bench("plugins", "check", plugin)
    assert result.exit_code == 0, result.stdout


def test_the_plugin_runs_with_the_settings_shown(bench: Callable[..., Any], plugin: str, kit: Path) -> None:
    words = ["--features", plugin, "--model", "svm", "--set", "loudness.block=512"]
    result = bench("run", *words, "--data", "tones", "--plugins", kit)
    assert result.exit_code == 0, result.stderr
    assert "loudness + svm, loudness.block=512" in result.stdout


def test_the_program_runs_and_saves_a_model(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(kit / "datasets", "plugins/datasets")
    exec(PROGRAM.replace('"demo"', '"tones"'), {})  # noqa: S102 - as a reader would; on tones, to be quick
    assert capsys.readouterr().out.split()[0] in {"pass", "fail", "undecided"}
    assert Path("model", "bundle.json").is_file()


def test_ci_runs_the_readmes_test_command() -> None:
    (command,) = re.findall(r"^(python3 .*pytest)$", README, flags=re.MULTILINE)
    plain = command.replace("pip install -c", "pip install -q -c")
    assert plain in (ROOT / ".ci" / "run").read_text("utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shown_has_the_options_that_are_given(command: str) -> None:
    found: Any = get_command(app)
    _, *words = shlex.split(command, comments=True)
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    context = found.context_class(found)
    found.make_parser(context).parse_args(words)


@pytest.mark.parametrize("command", ["bench run --no-such-option 1", "bench leaderboard --top"])
def test_an_option_that_does_not_exist_or_lacks_its_value_would_be_noticed(command: str) -> None:
    with pytest.raises(TyperException):
        test_every_command_shown_has_the_options_that_are_given(command)


@pytest.mark.parametrize("program", re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL))
def test_every_program_of_the_docs_is_python(program: str) -> None:
    assert ast.parse(program).body


def test_the_readme_is_one_screen_with_pictures() -> None:
    assert len(README.split()) <= 800
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(shown) >= 3
    assert {(ROOT / path).parent for path in shown} == {PICTURES}


def test_the_board_in_the_picture_is_that_of_the_published_runs() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_pictures.py"))
    message = "run: python docs/make_pictures.py"
    assert (PICTURES / "leaderboard.svg").read_text("utf-8") == script["draw_board"](), message


@pytest.mark.slow
def test_the_first_output_of_the_docs_is_what_is_printed(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marsbench.report.terminal.console.out.width", 80)
    (shown,) = re.findall(r"<!-- output -->\n\n```text\n(.*?)```", PAGES["get_started"], flags=re.DOTALL)
    printed = bench(*["run", "--features", "functionals", "--model", "svm", "--trials", "0"])
    assert [line.rstrip() for line in printed.stdout.strip().splitlines()] == shown.strip().splitlines()


def test_every_picture_is_made_by_the_script_shown_and_small() -> None:
    script = (ROOT / "docs" / "make_pictures.py").read_text("utf-8")
    made = {path.name for path in PICTURES.iterdir()}
    assert made == set(re.findall(r"pictures/([\w.]+)", PAGES["gallery"]))
    assert all(f'"{name}"' in script or f'"{Path(name).stem}"' in script for name in made)
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < 600_000


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_links_between_files_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as `mkdocs build --strict` does: every warning is an error."""
    pytest.importorskip("material", reason="no mkdocs-material: pip install 'marsbench[docs]'")
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "mkdocs", "build", "--strict", "-q", "-f", str(ROOT / "mkdocs.yml"), "-d", str(folder)]
    built = subprocess.run([sys.executable, *words], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_the_site_asks_no_other_host(site: Path) -> None:
    asked = r"<(?:script|img|iframe)[^>]* src=\"?https?:|<link[^>]*rel=\"?(?:stylesheet|preload)[^>]*https?:"
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    assert [page.name for page in pages if re.search(asked, page.read_text("utf-8"))] == []


def test_the_site_has_every_command_and_every_name_of_the_api(site: Path) -> None:
    commands = (site / "cli.html").read_text("utf-8")
    assert all(f"bench {name}" in commands for name in ("run", "plugins check", "cache clear", "export"))
    assert "--protocol" in commands
    api = (site / "api.html").read_text("utf-8")
    assert all(
        re.search(rf'id="marsbench\.api\.\w+\.{name}"', api)
        for name in set(marsbench.__all__) - {"BenchError"}
    )
    plugin_api = (site / "plugin_api.html").read_text("utf-8")
    assert "marsbench.plugin.features.FeatureExtractor.extract" in plugin_api


def test_every_page_is_in_the_sites_navigation() -> None:
    settings = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert set(re.findall(r": (\w+)\.md$", settings, flags=re.MULTILINE)) == set(PAGES)


def test_citation_and_changelog_name_the_packages_version_and_its_date() -> None:
    (wanted,) = re.findall(
        r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text("utf-8"), flags=re.MULTILINE
    )
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    cited = dict(re.findall(r"^(version|date-released): (.*)$", citation, flags=re.MULTILINE))
    unreleased, newest, *_ = re.findall(r"^## (.+)$", CHANGELOG, flags=re.MULTILINE)
    assert unreleased == "Unreleased"
    assert newest == f"{wanted}, {cited['date-released']}"
    assert cited["version"] == wanted


@pytest.mark.parametrize(
    "name",
    ["CITATION.cff", ".pre-commit-config.yaml", ".github/workflows/ci.yml", ".github/ISSUE_TEMPLATE/bug.yml"],
)
def test_settings_of_other_programs_are_valid_yaml(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    assert isinstance(yaml.safe_load((ROOT / name).read_text("utf-8")), dict)


def test_the_workflow_does_what_is_done_before_a_change_lands() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert re.findall(r"- run: (.*)", workflow) == [".ci/run"]
