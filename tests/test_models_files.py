"""Models as files: which load, and why others do not."""

import zipfile

import keras
import pytest

import keras_resnets
from keras_resnets.errors import UserError
from keras_resnets.models.files import load_model


def test_a_file_that_is_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model .*a\.keras"):
        load_model(tmp_path / "a.keras")
    (tmp_path / "b.keras").write_bytes(b"PK not a zip")
    with pytest.raises(ValueError, match=r"Cannot load .*b\.keras") as caught:
        load_model(tmp_path / "b.keras")
    assert "\n" not in str(caught.value)


def rewrite(path, config=None, without=()):
    """Changes the config in a .keras file, or leaves members out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if config:
        members["config.json"] = config(members["config.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name in members.keys() - set(without):
            archive.writestr(name, members[name])


def test_why_a_model_does_not_load(tmp_path):
    path = tmp_path / "a.keras"

    def assert_line(words):
        with pytest.raises(UserError) as caught:
            load_model(path)
        line = str(caught.value)
        assert line.startswith(f"Cannot load {path}: ") and "\n" not in line and len(line) < 400
        assert words in line

    keras_resnets.create_model("resnet_cifar", depth=8, width=4).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    assert_line("it is truncated, or no .keras file")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    assert_line("model.weights.h5 is not as it was written")
    path.write_bytes(whole)
    rewrite(path, lambda config: config.replace('"width": 4', '"width": 8'))
    assert_line(
        "the weights are those of another network: 15 layers differ, such as stem_conv/kernel, "
        "(3, 3, 3, 4) in the file and (3, 3, 3, 8) by its config"
    )
    path.write_bytes(whole)
    rewrite(path, without=["config.json"])
    assert_line("There is no item named 'config.json' in the archive")

    image = keras.Input((8, 8, 1))
    doubled = keras.layers.Lambda(lambda x: 2 * x)(image)
    keras.Sequential([keras.Model(image, doubled), keras.layers.Flatten()]).save(path)
    assert_line("it has a Lambda layer, whose Python code is not run from a file")

    class Unknown(keras.layers.Layer):
        def call(self, x):
            return x

    keras.Model(image, Unknown()(image)).save(path)
    assert_line("Could not locate class 'Unknown'.")
