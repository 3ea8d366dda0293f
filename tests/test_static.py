"""What a type checker says of the package: misspelt options and names are found before a run."""

import os
import pathlib
import re
import subprocess
import sys
import zlib

import pytest

import keras_resnets

ROOT = pathlib.Path(keras_resnets.__file__).parents[1]
RIGHT = """
import keras_resnets
from keras_resnets import Network

nets: list[Network] = [
    keras_resnets.ResNet18(num_classes=10, stem="cifar", input_shape=(32, 32, 3)),
    keras_resnets.ResNet34(shortcut="A", shortcut_pad="both"),
    keras_resnets.ResNet50(num_classes=100, output_stride=16),
    keras_resnets.ResNet101(replace_stride_with_dilation=(False, True, True)),
    keras_resnets.ResNet152V2(pooling="avg", include_top=False),
    keras_resnets.ResNet20(input_shape=(None, None, 1), width=32),
    keras_resnets.ResNet110(survival=0.5, survival_rule="uniform"),
    keras_resnets.ResNet1001(norm="sync_batch"),
    keras_resnets.ResNet164V2(zero_init_residual=True),
    keras_resnets.WideResNet28_10(dropout=0.3, norm="group"),
    keras_resnets.WideResNet50_2(classifier_activation="softmax"),
    keras_resnets.ResNeXt29_8x64d(survival=0.5, survival_draw="sample"),
    keras_resnets.ResNeXt50_32x4d(head_dropout=0.2),
    keras_resnets.DPN92(padding="tensorflow"),
    keras_resnets.DPN68b(stem="cifar"),
    keras_resnets.FractalNet20(stem=None, drop_path=0),
    keras_resnets.DFNMR1(num_classes=100),
    keras_resnets.DFNMR50(),
    keras_resnets.Plain56(activation="original"),
    keras_resnets.resnet(depth=50, width=32, stem_width=64),
    keras_resnets.resnet_cifar(depth=20, shortcut="B", activation="full_preact"),
    keras_resnets.wide_resnet(depth=22, block_type=(3, 3, 3), widen=1.5),
    keras_resnets.dpn(depths=(1, 1), increments=(4, 4)),
    keras_resnets.fractalnet(columns=2, dropout=(0.0, 0.1), blocks=2),
    keras_resnets.fusenet(kind="half", depth=14),
    keras_resnets.create_model("resnet50", num_classes=3),
    keras_resnets.ResNet20(weights="cifar10", num_classes=5),
]
strides: list[int] = [block.stride for block in nets[0].blocks]
reveal_type(keras_resnets.ResNet50())
reveal_type(keras_resnets.resnet_cifar)
"""


def check(tmp_path, code, root=ROOT):
    # mypy's cache knows a program by name, size and second: two of one size need two names.
    program = f"program_{zlib.crc32(code.encode())}.py"
    (tmp_path / program).write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", program,
         f"--cache-dir={tmp_path.parent / 'mypy'}"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def test_builders_pass_and_give_networks(tmp_path):
    assert (ROOT / "keras_resnets" / "py.typed").exists()
    code, report = check(tmp_path, RIGHT)
    assert code == 0, report
    assert 'Revealed type is "keras_resnets.models.network.Network"' in report
    assert "num_classes" in report.splitlines()[1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("keras_resnets.ResNet50(num_clases=3)", 'Unexpected keyword argument "num_clases"'),
        ("keras_resnets.ResNet50(stride_in='2x2')", 'expected "Literal['),
        ("keras_resnets.ResNet50(num_classes='3')", 'expected "int"'),
        ("keras_resnets.resnet(depth=51)", 'expected "Literal['),
        ("keras_resnets.ResNet51()", 'Module has no attribute "ResNet51"'),
        ("keras_resnets.no_such_name", 'Module has no attribute "no_such_name"'),
    ],
)
def test_mistakes_fail(tmp_path, line, words):
    code, report = check(tmp_path, f"import keras_resnets\n\n{line}\n")
    assert code == 1
    assert words in report
    assert "Found 1 error" in report


def test_every_public_name_is_written_down():
    builders = keras_resnets.models.public_builders()
    source = (ROOT / "keras_resnets" / "__init__.py").read_text()
    assert "globals()" not in source
    for name in builders:
        assert name in keras_resnets.__all__
        assert getattr(keras_resnets, name) is builders[name]
    assert len(set(keras_resnets.__all__)) == len(keras_resnets.__all__)


@pytest.mark.slow
def test_an_installed_copy_is_typed_and_runs_the_readme(tmp_path):
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={site}", "."],
        cwd=ROOT, check=True, timeout=600,
    )
    (tmp_path / "work").mkdir()
    code, report = check(tmp_path / "work", RIGHT, site)
    assert code == 0, report
    readme = (ROOT / "README.md").read_text()
    program = re.search(r"```python\n(.*?)```", readme, re.DOTALL).group(1)
    program += "\nprint(keras_resnets.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True, text=True, timeout=900, check=True,
    )
    assert done.stdout.splitlines()[-1].startswith(str(site))
