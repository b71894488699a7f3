"""The notebook in the docs runs from top to bottom."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ..conftest import ROOT

NOTEBOOK = ROOT / "docs" / "python" / "tour.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook after a run in a kernel of this Python that imports nasion from this checkout."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    for package in ("ipykernel", "matplotlib", "pandas", "pyarrow"):
        pytest.importorskip(package)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        nbclient.NotebookClient(
            notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    return notebook, folder


def _outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_the_notebook_tracks_plots_and_exports(executed: tuple[Any, Path]) -> None:
    notebook, folder = executed
    outputs = _outputs(notebook)
    text = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    assert "90 frames; Frame(640x360, time=0, index=0" in text
    assert "Pose(yaw=" in text
    assert "0 blinks" in text
    assert "90 frames written; 90 read" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert {path.name for path in folder.rglob("*.*") if path.is_file()} >= {"tracked.mp4", "faces.parquet"}


def test_the_notebook_is_kept_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    assert _outputs(nbformat.read(NOTEBOOK, as_version=4)) == []
