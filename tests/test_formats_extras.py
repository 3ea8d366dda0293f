"""The extras behind OpenVINO and ONNX: missing, defective, silent; and the page about both."""

import os
import pathlib
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
from test_export import small_network
from test_formats import own_size

from keras_resnets import Preprocessing, UserError
from keras_resnets.serving import Predictor, export_onnx, export_openvino
from keras_resnets.serving.extras import extra


@pytest.mark.parametrize("package", ["openvino", "nncf", "onnx", "tf2onnx", "onnxruntime"])
def test_a_missing_extra_is_named(package, tmp_path, monkeypatch):
    pytest.importorskip(package, reason="an extra")
    path = None
    if package in ("openvino", "onnxruntime"):
        function = export_openvino if package == "openvino" else export_onnx
        path = function(small_network(), "net", tmp_path)
    before = os.listdir(tmp_path)
    # What an import of a package that is not installed does.
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(package), *sys.meta_path])
    brings = "openvino" if package in ("openvino", "nncf") else "onnx"
    words = rf"^{package} is not installed: pip install 'keras_resnets\[{brings}\]'$"
    with pytest.raises(UserError, match=words):
        if package == "nncf":
            images = [np.zeros((16, 16, 3), np.uint8)]
            export_openvino(
                small_network(), "new", tmp_path, precision="int8", calibration=images
            )
        elif brings == "openvino":
            export_openvino(small_network(), "new", tmp_path)
        else:
            export_onnx(small_network(), "new", tmp_path)
    assert os.listdir(tmp_path) == before
    if path:
        with pytest.raises(UserError, match=words):
            Predictor(path)


class _Without:
    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_defect_of_an_extra_is_not_a_missing_one(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [_Without("needed_by_it"), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError):
        extra("needed_by_it.part", "openvino")


def test_nothing_is_reported_to_anybody(run_python):
    pytest.importorskip("openvino", reason="an extra")
    code = """
import sys
from keras_resnets.serving.extras import extra
extra("openvino", "openvino"), extra("nncf", "openvino")
assert not [name for name in sys.modules if "openvino_telemetry" in name]
import openvino_telemetry
print("may be imported by others")
"""
    assert "may be" in run_python(code).stdout


def test_the_code_of_the_documentation(rng, tmp_path, monkeypatch):
    """What docs/serving_formats.md says to other people's Python."""
    pytest.importorskip("openvino", reason="an extra")
    pytest.importorskip("onnxruntime", reason="an extra")
    page = (pathlib.Path(__file__).parents[1] / "docs" / "serving_formats.md").read_text()
    _, of_openvino, of_onnx = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    model = small_network()
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    for function, form in ((export_openvino, "openvino"), (export_onnx, "onnx")):
        function(model, f"resnet20_cifar10_{form}", images=own_size(model, rng)[0])
    for code, sides in ((of_openvino, (40, 50)), (of_openvino, (16, 16)), (of_onnx, (16, 16))):
        pixels = rng.integers(0, 256, (2, *sides, 3), dtype=np.uint8)
        names = {"pixels": pixels}
        exec(compile(code, "serving_formats.md", "exec"), names)
        fitted = Preprocessing((0.5,) * 3, (0.25,) * 3, resize=(16, 16))(pixels)
        truth = tf.nn.softmax(model(fitted, training=False)).numpy()
        atol = 1e-5 if sides == (16, 16) else 0.02
        np.testing.assert_allclose(names["probabilities"], truth, atol=atol)
