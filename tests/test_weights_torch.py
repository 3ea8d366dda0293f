"""Networks of torchvision and timm, and ours with their weights: the same outputs."""

import pathlib
import subprocess

import numpy as np
import pytest
import torch_nets

import keras_resnets
from keras_resnets import weights
from keras_resnets.weights.files import write_safetensors
from keras_resnets.weights.writing import save

HERE = pathlib.Path(__file__).parent
PYTHON = HERE.parent / ".venv-torch" / "bin" / "python"
NETS = [
    *(f"torchvision/resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"torchvision/resnext{kind}" for kind in ("50_32x4d", "101_32x8d", "101_64x4d")),
    "torchvision/wide_resnet50_2",
    "torchvision/wide_resnet101_2",
    "timm/resnet50",
    "timm/resnet50_gn",
    "timm/resnext101_32x4d",
    *(f"timm/dpn{name}" for name in ("68", "68b", "92", "98", "107", "131")),
    *(f"timm/resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"akamaster/resnet{depth}" for depth in (20, 110)),
    *(f"kuangliu/resnet{depth}" for depth in (18, 50)),
    *(f"weiaicunzai/resnet{depth}" for depth in (34, 50)),
]


def run(*arguments):
    subprocess.run([PYTHON, HERE / "torch_nets.py", *arguments], check=True, timeout=600)


def free(path):
    """The network of a file, for images of any side."""
    opened = weights.open(path)
    return opened.copy_with(input_shape=(None, None, 3))


def assert_same(network, expected, bound=1e-4):
    for sides, logits in expected.items():
        image = torch_nets.image(tuple(map(int, sides.split("x"))))
        found = network.predict(image, verbose=0)[0][: len(logits)]
        assert np.abs(found - logits).max() <= bound * np.abs(logits).max(), sides


def dialect_of(name):
    where, _, model = name.partition("/")
    if where == "timm" and "dpn" in model:
        where = "timm_dpn_b" if model.endswith("b") else "timm_dpn"
    elif where == "timm":
        where = "timm_resnetv2" if "v2" in model else "torchvision"
    return next(dialect for dialect in weights.DIALECTS if dialect.name == where)


@pytest.mark.torch
@pytest.mark.skipif(not PYTHON.exists(), reason="needs torch: bash scripts/torch_env.sh")
@pytest.mark.parametrize("name", NETS)
def test_outputs_are_those_of_torch_and_back(name, tmp_path):
    run("write", name, str(tmp_path))
    network = free(tmp_path / "net.pth")
    expected = dict(np.load(tmp_path / "outputs.npz"))
    assert min(np.ptp(logits) for logits in expected.values()) > 0.1
    assert_same(network, expected)
    # Back: other weights, from here to torch's module.
    for variable in network.weights:
        values = torch_nets.values(f"here {variable.path}", tuple(variable.shape))
        is_variance = "variance" in variable.path
        variable.assign(np.abs(values) + 0.5 if is_variance else values * 0.5)
    save(network, tmp_path / "back.safetensors", dialect_of(name).name)
    run("read", name, str(tmp_path / "back.safetensors"), str(tmp_path))
    assert_same(network, dict(np.load(tmp_path / "outputs.npz")))


@pytest.mark.parametrize("name", torch_nets.GOLDEN)
def test_outputs_are_those_that_torch_gave(name, tmp_path):
    known = np.load(HERE / "data" / "torch_outputs.npz")
    where, _, model = name.partition("/")
    builder = {
        "resnet20": lambda: keras_resnets.ResNet20(shortcut_pad="both"),
        "resnetv2_18": lambda: keras_resnets.ResNet18V2(bare_stem=True),
        "resnetv2_50": lambda: keras_resnets.ResNet50V2(bare_stem=True),
    }.get(model)
    if builder is None:
        classes = {"kuangliu": 10, "weiaicunzai": 100}.get(where)
        options = {"stem": "cifar", "num_classes": classes} if classes else {}
        builder = lambda: keras_resnets.create_model(model, **options)  # noqa: E731
    dialect = dialect_of(name)
    slots = dialect.table(builder())
    tensors = {slot.key: torch_nets.values(slot.key, slot.shape) for slot in slots}
    write_safetensors(tmp_path / "net.safetensors", tensors)
    assert_same(free(tmp_path / "net.safetensors"), {"64x80": known[name]})
