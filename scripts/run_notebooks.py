"""Runs notebooks and keeps their outputs: python scripts/run_notebooks.py [notebooks/1_*.ipynb ...]

Each runs in a fresh kernel and an empty folder. What changes with every run (cell numbers, times)
or says nothing to a reader (standard error) is left out, so that a change of a notebook is a change
of its code, text or results.
"""

import os
import pathlib
import sys
import tempfile
import time

import nbformat
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[1]


def execute(notebook, folder, timeout=600):
    """Runs a notebook in a fresh kernel whose working folder is `folder`, in place.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.execute(env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})


def clean(notebook):
    """Leaves out what changes with every run."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = _joined(cell.outputs)
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = None
                if "metadata" in output:  # the width of a picture stays
                    output.metadata = {
                        kind: entry for kind, entry in output.metadata.items() if "/" in kind
                    }


def _joined(outputs):
    """Outputs without standard error; what a cell printed in pieces is one text."""
    kept = []
    for output in outputs:
        if output.get("name") == "stdout" and kept and kept[-1].get("name") == "stdout":
            kept[-1].text += output.text
        elif output.get("name") != "stderr":
            kept.append(output)
    return kept


def main(paths):
    for path in paths or sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, folder)
        clean(notebook)
        nbformat.write(notebook, path)
        seconds, size = time.perf_counter() - start, os.path.getsize(path) / 1000
        print(f"{path}: {seconds:.0f} s, {size:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
