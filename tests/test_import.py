"""What `import keras_resnets` brings with it."""

import ast
import re
from pathlib import Path

import pytest
from slow import first

ROOT = Path(__file__).parents[1]

HEAVY = ("matplotlib", "sklearn", "tensorflow_datasets", "keras_cv")

BLOCK = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
"""
UNBLOCK = "sys.meta_path.pop(0)\n"
COMPARE = f"""
before = set(sys.modules)
import keras_resnets
added = [name for name in set(sys.modules) - before if name.partition(".")[0] in {HEAVY}]
print(sorted(added))
"""
USE = """
import keras_resnets
from keras_resnets.analysis import plots
from keras_resnets.models import files
from keras_resnets.serving import export, prediction
from keras_resnets.training import evaluation
import numpy as np

model = keras_resnets.ResNet20(input_shape=(8, 8, 3))
print(model(np.zeros((1, 8, 8, 3), "float32")).shape)
"""


# Keras itself loads some of them where they are installed, which would hide that we do.
@pytest.mark.parametrize(
    "keras", first(1, [BLOCK + "import keras\n" + UNBLOCK, "import sys, keras\n"])
)
def test_importing_adds_nothing_heavy_to_what_keras_loads(run_python, keras):
    assert ast.literal_eval(run_python(keras + COMPARE).stdout) == []


def test_the_package_works_without_what_it_can_do_without(run_python):
    assert run_python(BLOCK + USE).stdout == "(1, 10)\n"


ONEDNN = """
import keras_resnets
from tensorflow.python.util import _pywrap_util_port
print(_pywrap_util_port.IsMklEnabled())
"""


def test_onednn_computes_unless_the_user_says_no(run_python, monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    for chosen, expected in (({}, "True"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "False")):
        assert run_python(ONEDNN, **chosen).stdout.strip() == expected


def test_each_name_has_one_home():
    import keras_resnets
    from keras_resnets import images, models
    from keras_resnets.models.files import load_model

    assert keras_resnets.Preprocessing is models.Preprocessing is images.Preprocessing
    assert load_model.__module__ == "keras_resnets.models.files"
    with pytest.raises(ImportError):
        from keras_resnets.models import preprocessing  # noqa: F401


def test_mistakes_have_a_class_that_users_can_catch():
    import keras_resnets

    with pytest.raises(keras_resnets.UserError):
        keras_resnets.ResNet20(stem="none")
    for path in (*ROOT.glob("keras_resnets/**/*.py"), *ROOT.glob("scripts/*.py")):
        assert not re.search(r"raise (ValueError|TypeError)\b", path.read_text()), path
