"""The pages in docs/ are run."""

import pathlib
import re

import numpy as np
import pytest

import keras_resnets
from keras_resnets.models import records, registry

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def code_blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def own_families(monkeypatch):
    """What docs/own_family.md defines; the registry is as before afterwards."""
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    monkeypatch.setattr(registry, "_VARIANTS", dict(registry._VARIANTS))
    namespace = {"__name__": "own_family"}
    import sys
    import types

    module = types.ModuleType("own_family")
    namespace = module.__dict__
    monkeypatch.setitem(sys.modules, "own_family", module)
    for code in code_blocks("own_family.md"):
        exec(compile(code, "own_family.md", "exec"), namespace)
    return namespace


def test_own_families_take_at_most_sixty_lines():
    definitions = [code for code in code_blocks("own_family.md") if "= family(" in code]
    assert len(definitions) == 2
    for code in definitions:
        assert len(code.splitlines()) <= 75, "with imports and docstrings"
        assert sum(bool(line.strip()) for line in code.splitlines()) <= 60


def test_own_families_have_the_published_counts(own_families):
    for name, trainable in (("SEResNet50", 28_088_024), ("RegNetX_400MF", 5_495_976)):
        model = own_families[name]()
        assert isinstance(model, keras_resnets.Network)
        assert sum(np.prod(v.shape) for v in model.trainable_variables) == trainable
        assert keras_resnets.complexity(model).trainable == trainable
        assert model.blocks and all(len(block.branches) == 1 for block in model.blocks)
        assert isinstance(model.stem, records.StemRecord)


def test_regnet_has_the_published_stages(own_families):
    model = own_families["RegNetX_400MF"]()
    stages = [(stage.blocks[0].width, len(stage.blocks)) for stage in model.stages]
    assert stages == [(32, 1), (64, 2), (160, 7), (400, 12)]
