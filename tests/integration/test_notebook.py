"""The notebook does what it says, on the embedded corpus, and what it shows was made by its own cells."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

PATH = Path(__file__).parents[2] / "experiments" / "mars_audio_report.ipynb"
QUICK = 'MODEL, SETTINGS = "tiny_net", {"tiny_net.patience": 1}'
"""A network that is trained in no time, with clips kept aside as the notebook's own has them."""


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NotebookNode:
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    found: NotebookNode = nbformat.read(PATH, as_version=4)  # type: ignore[no-untyped-call]
    return found


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Every cell was run in the folder; one that raises, raises here."""
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=900, kernel_name="python3", resources=resources).execute()


def set_parameters(notebook: NotebookNode, source: str) -> None:
    """Put a cell behind the parameters, as papermill does."""
    (place,) = (n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    cell = nbformat.v4.new_code_cell(source)  # type: ignore[no-untyped-call]
    notebook.cells.insert(place + 1, cell)


def test_every_cell_runs_on_the_embedded_corpus(notebook: NotebookNode, tmp_path: Path, kit: Path) -> None:
    shutil.copytree(kit / "models", tmp_path / "plugins" / "models")
    set_parameters(notebook, QUICK)
    outputs = [output for cell in code_cells(executed(notebook, tmp_path)) for output in cell.outputs]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert (tmp_path / "mars_audio_model" / "bundle.json").is_file()
    assert (tmp_path / "emotion_cnn1d_lstm_final.keras").is_file()
    shown = {name for output in outputs for name in output.get("data", {})}
    assert shown >= {"image/png", "text/html"}
    assert any("<audio" in output.data.get("text/html", "") for output in outputs if "data" in output)
    assert len(list(tmp_path.glob("results/demo/*/*/run.json"))) == 4


@pytest.mark.slow
def test_it_runs_as_it_stands_and_shows_what_it_is_kept_with(notebook: NotebookNode, tmp_path: Path) -> None:
    kept = [[output.output_type for output in cell.outputs] for cell in code_cells(notebook)]
    again = code_cells(executed(notebook, tmp_path))
    assert [[output.output_type for output in cell.outputs] for cell in again] == kept


def test_it_is_kept_with_the_outputs_of_one_run_from_top_to_bottom(notebook: NotebookNode) -> None:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    shown = [output.output_type for cell in code_cells(notebook) for output in cell.outputs]
    assert "display_data" in shown
    assert "error" not in shown


def test_it_is_small_and_names_no_folder_of_the_machine_that_made_it() -> None:
    text = PATH.read_text("utf-8")
    assert len(text) < 600_000
    assert not [word for word in ("/home/", "/root/", "/tmp/", "/Users/", "site-packages") if word in text]  # noqa: S108


def test_its_cells_are_short_and_say_first_what_they_do(notebook: NotebookNode) -> None:
    sources = [cell.source for cell in code_cells(notebook)]
    assert max(len(source.splitlines()) for source in sources) <= 10
    assert notebook.cells[0].cell_type == "markdown"
