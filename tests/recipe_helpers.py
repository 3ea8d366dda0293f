"""Fixtures that read recipes from flags, for all tests: `script`, `parse`."""

import contextlib
import importlib
import sys
from pathlib import Path

import pytest
from absl import flags

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
# What flagfiles of one paper share is in a file that is no recipe by itself.
FLAGFILES = sorted(
    path for path in (SCRIPTS / "flagfiles").rglob("*.flags") if ".base." not in path.name
)


def name_of(path):
    """`he2015/resnet32_cifar10` for the flagfile of that name."""
    return path.relative_to(SCRIPTS / "flagfiles").with_suffix("").as_posix()


@pytest.fixture(scope="module")
def script():
    """scripts/train.py as a module, its flags in a set of their own."""
    sys.path.insert(0, str(SCRIPTS))
    before = flags.FLAGS
    yield importlib.import_module("train")
    sys.path.remove(str(SCRIPTS))
    assert flags.FLAGS is before


@pytest.fixture
def parse(script):
    """The recipe of some arguments, read in the folder that flagfiles name each other from."""

    def parsed(*arguments):
        script.FLAGS.unparse_flags()
        for name in script.FLAGS:
            script.FLAGS[name].unparse()
        with contextlib.chdir(ROOT):
            rest = script.FLAGS(["train.py", *arguments])
        assert rest == ["train.py"]
        return script.recipe_from_flags()

    return parsed
