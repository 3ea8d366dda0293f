"""A program in C asks an export through the library that comes with TensorFlow, without Python."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from slow import first
from test_export import encode, small_network

from keras_resnets.serving import export

SOURCE = pathlib.Path(__file__).parent / "data" / "serve.c"
COMPILER = shutil.which(os.environ.get("CC", "cc"))

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="the names of Linux' libraries"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("c") / "serve"
    home = pathlib.Path(tf.__file__).parent
    libraries = [home / f"libtensorflow_{name}.so.2" for name in ("cc", "framework")]
    command = [COMPILER, "-std=c11", "-Wall", "-Werror", SOURCE, f"-I{home / 'include'}"]
    command += [*libraries, f"-Wl,-rpath,{home}", "-o", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return path


def ask(program, version, signature, *files):
    """The outputs that the program prints, by name, as lists of strings for each image."""
    environment = {"PATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [program, version, signature, *files]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    outputs = {}
    for line in done.stdout.splitlines():
        name, count, size, *values = line.split("\t")
        assert len(values) == int(count) * int(size)
        outputs[name] = np.reshape(values, (int(count), int(size)))
    return outputs


def assert_same(answer, outputs):
    assert set(answer) == set(outputs)
    for name, value in outputs.items():
        printed, value = answer[name], value.numpy().reshape(answer[name].shape)
        if value.dtype == object:
            assert [[name.decode() for name in row] for row in value] == printed.tolist()
        else:
            np.testing.assert_allclose(printed.astype(np.float64), value, atol=1e-6)


@pytest.mark.parametrize("channels", first(1, [3, 1]))
def test_every_signature_answers_as_in_python(program, channels, rng, tmp_path):
    version = export(small_network(channels=channels), "net", tmp_path)
    pixels = rng.integers(0, 256, (3, 21, 17, channels), dtype=np.uint8)
    for number, image in enumerate(pixels):
        (tmp_path / f"{number}.png").write_bytes(encode(image, "PNG"))
        Image.fromarray(image.squeeze()).save(tmp_path / f"{number}.ppm")
    for name, signature in tf.saved_model.load(version).signatures.items():
        (spec,) = signature.structured_input_signature[1].values()
        files = sorted(tmp_path.glob("*.png" if spec.dtype == tf.string else "*.ppm"))
        images = [path.read_bytes() for path in files] if spec.dtype == tf.string else pixels
        assert_same(ask(program, version, name, *files), signature(tf.constant(images)))


def test_what_is_wrong_is_said(program, tmp_path):
    version = export(small_network(), "net", tmp_path)
    for arguments, words in [
        ((version, "serve", "x.png"), "no such signature: serve"),
        ((version, "serving_default", "x.png"), "cannot open: x.png"),
        ((tmp_path / "none", "serving_default", "x.png"), "cannot load"),
    ]:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300)
        assert done.returncode == 1 and words in done.stderr.splitlines()[-1]
