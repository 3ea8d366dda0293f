"""The notebooks run in a fresh kernel, and what they show is there to be read without running."""

import importlib.util
import pathlib
import re

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FAST = ("1_first_network",)  # the others take half a minute and more
UNWANTED = re.compile(
    r"/(home|root|Users|tmp|var|work|opt|usr)/|Traceback \(most recent|^(WARNING|INFO):",
    re.MULTILINE,
)


def load_runner():
    path = ROOT / "scripts" / "run_notebooks.py"
    spec = importlib.util.spec_from_file_location("run_notebooks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs_of(notebook):
    return [out for cell in notebook.cells if cell.cell_type == "code" for out in cell.outputs]


def images_of(notebook):
    kinds = [kind for out in outputs_of(notebook) for kind in out.get("data", {})]
    return [kind for kind in kinds if kind.startswith("image/")]


def words_of(notebook):
    """All text of the outputs, SVG too."""
    pieces = []
    for out in outputs_of(notebook):
        pieces.append(out.get("text", ""))
        data = out.get("data", {})
        pieces += [text for kind, text in data.items() if kind not in ("image/png", "image/jpeg")]
    return "\n".join(pieces)


def test_there_are_five():
    assert [path.name[0] for path in NOTEBOOKS] == list("12345")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.stem in FAST else pytest.mark.slow)
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
def test_runs(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    committed = images_of(notebook)
    load_runner().execute(notebook, tmp_path)  # raises where a cell fails
    assert images_of(notebook) == committed
    assert not list(tmp_path.iterdir())  # it writes to a folder of its own


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 1_000_000
    assert images_of(notebook)
    assert not UNWANTED.search(words_of(notebook)), UNWANTED.search(words_of(notebook))
    for out in outputs_of(notebook):
        assert out.output_type in ("stream", "display_data", "execute_result")
        assert out.get("name") != "stderr"
    for cell in notebook.cells:
        assert not cell.metadata
        assert cell.cell_type == "markdown" or cell.execution_count is None
        assert "@@" not in cell.source


@pytest.mark.parametrize(
    "path", [*NOTEBOOKS, ROOT / "docs" / "index.md"], ids=lambda path: path.stem
)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+?)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            file, _, heading = target.partition("#")
            assert (path.parent / file).exists(), target
            if heading:
                assert heading in headings_of(path.parent / file), target


def headings_of(path):
    """What a heading is linked by, as GitHub does it."""
    lines = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines]
