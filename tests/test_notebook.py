"""What README promises for notebooks, run in a real notebook kernel."""

import pathlib
import re

import nbformat
import pytest
from nbclient import NotebookClient

README = pathlib.Path(__file__).parents[1] / "README.md"


def run_notebook(*cells):
    """Executes cells in a fresh kernel and returns the text that each printed."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    return [
        "".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells
    ]


@pytest.mark.slow
def test_the_readme_example_learns_the_digits():
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    assert len(code.strip().splitlines()) <= 12
    check = "print(model.evaluate(test, verbose=0, return_dict=True)['accuracy'])"
    accuracy = float(run_notebook(code, check)[1])
    assert 0.9 < accuracy <= 1.0


@pytest.mark.slow
def test_resnet1202_builds_in_a_notebook():
    code = "import keras_resnets\nprint(keras_resnets.ResNet1202().count_params())"
    assert run_notebook(code)[0].split()[-1] == "19510906"
