"""Asking an export about files, from Python and from the command line."""

import io
import json
import os
import pathlib
import shutil
import sys

import keras
import numpy as np
import processes
import pytest
from PIL import Image

from keras_resnets import Preprocessing
from keras_resnets.errors import UserError
from keras_resnets.serving import CorruptImageError, Predictor, export, formats

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "predict.py"
COLOURS = {"red": (250, 5, 5), "green": (5, 250, 5), "blue": (5, 5, 250)}


def colour_model():
    """Tells red, green and blue images apart: its logits are the means of the channels."""
    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3, resize=(8, 8))
    model.class_names = tuple(COLOURS)
    return model


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    return pathlib.Path(export(colour_model(), "colours", tmp_path_factory.mktemp("root"))).parent


def encode(colour, form="PNG", size=(12, 9)):
    file = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(file, form)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Images by content, suffix and place, and what is none."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    (root / ".cache").mkdir()
    (root / "a.png").write_bytes(encode("red"))
    (root / "B.JPG").write_bytes(encode("green", "JPEG"))
    (root / "c").write_bytes(encode("blue", "BMP"))
    (root / "more" / "d.Gif").write_bytes(encode("red", "GIF"))
    (root / ".hidden.png").write_bytes(encode("red"))
    (root / ".cache" / "e.png").write_bytes(encode("red"))
    (root / "notes.txt").write_text("BMW drivers read this, which is no bitmap at all.")
    return root


def test_labels_and_scores(saved_model):
    predictor = Predictor(saved_model)
    ((labels, scores),) = predictor.predict([encode("green")])
    means = (np.array(COLOURS["green"]) / 255 - 0.5) / 0.25
    truth = np.exp(means) / np.exp(means).sum()
    assert labels[0] == "green" and sorted(labels) == sorted(COLOURS)
    np.testing.assert_allclose(scores, sorted(truth, reverse=True), atol=1e-6)
    assert predictor.top == 3


def test_more_images_than_a_batch(saved_model, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(encode("red", size=(30, 20)))
    images = [path, encode("green"), str(path), encode("blue", "BMP"), encode("red", "JPEG")]
    answers = Predictor(saved_model, batch_size=2).predict(images)
    assert [labels[0] for labels, _ in answers] == ["red", "green", "red", "blue", "red"]


def test_no_images(saved_model):
    assert Predictor(saved_model).predict([]) == []


@pytest.mark.parametrize(
    "images, words",
    [
        (b"GIF8", "put a single one into a list. Received: images of bytes"),
        ("photo.jpg", "Received: images of str"),
        (pathlib.Path("photo.jpg"), "Received: images of PosixPath"),
        (None, "Received: images of NoneType"),
        ([0, 1], "`images` must be paths, or the bytes of files. Received: one of int"),
        ([np.zeros((8, 8, 3), np.uint8)], "Received: one of ndarray"),
    ],
)
def test_what_are_no_images(saved_model, images, words):
    predictor = Predictor(saved_model)
    for ask in (predictor.predict, lambda images: list(predictor.predict_iter(images))):
        with pytest.raises(UserError, match=words) as caught:
            ask(images)
        assert "\n" not in str(caught.value)
    os.fstat(0), os.fstat(1)  # still open


@pytest.mark.parametrize(
    "options, words",
    [
        ({"top": 2.0}, r"`top` must be in 1\.\.3 .* Received: top=2\.0"),
        ({"batch_size": 1.5}, "`batch_size` must be a positive integer. Received: batch_size=1.5"),
        ({"max_pixels": 5e7}, "`max_pixels` must be a positive integer"),
    ],
)
def test_bad_options(saved_model, options, words):
    with pytest.raises(UserError, match=words):
        Predictor(saved_model, **options)


def test_a_corrupt_image_is_named_or_skipped(saved_model, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(encode("red")[:40])
    images = [encode("red"), broken, encode("blue")]
    predictor = Predictor(saved_model)
    with pytest.raises(CorruptImageError, match=r"broken\.png") as caught:
        predictor.predict(images)
    assert "\n" not in str(caught.value)
    answers = predictor.predict(images, skip_corrupt=True)
    assert [answer and answer[0][0] for answer in answers] == ["red", None, "blue"]


def test_the_highest_version_is_taken(saved_model, tmp_path):
    for version in ("2", "10", "draft"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    (tmp_path / "11").mkdir()  # empty
    assert formats.find_version(tmp_path) == str(tmp_path / "10")
    assert Predictor(saved_model / "1").path == str(saved_model / "1")


def test_no_version(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="No export in"):
            Predictor(path)


def test_script_prints_any_name(saved_model, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(encode("red"))
    done = run_script(f"--saved_model={saved_model}", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0].endswith(r"caf\xe9.png")


def run_script(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return processes.run(command, timeout=300)


def test_script_prints_a_table(saved_model, folder):
    done = run_script(f"--saved_model={saved_model}", folder, "--top=2")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    files = ["B.JPG", "a.png", "c", "more/d.Gif"]
    assert [row[0] for row in rows] == [str(folder / file) for file in files]
    assert [row[1] for row in rows] == ["green", "red", "blue", "red"]
    assert all(len(row) == 5 and float(row[2]) > float(row[4]) for row in rows)
    assert len({len(line) for line in done.stdout.splitlines()}) == 1


def test_script_names_a_corrupt_image(saved_model, folder):
    (folder / "broken.png").write_bytes(b"no image")
    done = run_script(f"--saved_model={saved_model}", folder)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if "broken.png" in line]
    assert line.startswith("error: ")


def test_script_skips_corrupt_images(saved_model, folder):
    (folder / "broken.png").write_bytes(b"no image")
    done = run_script(f"--saved_model={saved_model}", folder, "--skip_corrupt", "--format=json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["classes"][0] for row in rows] == ["green", "red", "blue", "red"]
    assert "skipped 1 corrupt" in done.stderr and "broken.png" in done.stderr


def test_too_many_pixels_are_refused_by_name(saved_model, tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(encode("red", size=(30, 20)))
    images = [encode("blue"), path]
    answers = Predictor(saved_model, max_pixels=600).predict(images)
    assert [labels[0] for labels, _ in answers] == ["blue", "red"]
    small = Predictor(saved_model, max_pixels=599)
    with pytest.raises(CorruptImageError, match=r"large\.png has 600 pixels, more than max.*=599$"):
        small.predict(images)
    assert [answer is None for answer in small.predict(images, skip_corrupt=True)] == [False, True]
    done = run_script(f"--saved_model={saved_model}", path, "--max_pixels=599")
    assert done.returncode == 1 and "large.png has 600 pixels" in done.stderr


def test_an_export_keeps_its_limit(tmp_path):
    version = export(colour_model(), "colours", tmp_path, max_pixels=599)
    with pytest.raises(CorruptImageError, match="has 600 pixels, more than max_pixels=599"):
        Predictor(version).predict([encode("red", size=(30, 20))])
    with pytest.raises(ValueError, match=r"must be in 1\.\.599 with .*max_pixels=600"):
        Predictor(version, max_pixels=600)
    (pathlib.Path(version) / formats.METADATA).unlink()  # the graph itself refuses too
    with pytest.raises(CorruptImageError, match="^An image cannot be decoded by "):
        Predictor(version).predict([encode("red", size=(30, 20))])


@pytest.mark.parametrize(
    "file, damage",
    [
        ("variables/variables.data-00000-of-00001", lambda data: data[: len(data) // 2]),
        ("variables/variables.data-00000-of-00001", lambda data: bytes(len(data))),
        ("variables/variables.index", lambda data: data[: len(data) // 2]),
        ("saved_model.pb", lambda data: data[: len(data) // 2]),
        ("saved_model.pb", lambda data: b""),
    ],
)
def test_a_damaged_export(file, damage, tmp_path):
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    model.preprocessing = Preprocessing((0.5,) * 3, (0.25,) * 3)
    path = pathlib.Path(export(model, "net", tmp_path), file)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="Cannot load .*/net/1, so export the model again: "):
        Predictor(tmp_path / "net")


def test_script_on_truncated_variables(saved_model, tmp_path):
    shutil.copytree(saved_model, tmp_path / "net")
    (path,) = (tmp_path / "net").rglob("variables.index")
    path.write_bytes(path.read_bytes()[:20])
    (tmp_path / "a.png").write_bytes(encode("red"))
    done = processes.run(
        [sys.executable, str(SCRIPT), f"--saved_model={tmp_path / 'net'}", str(tmp_path / "a.png")],
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: Cannot load {tmp_path}/net/1, so export")


LINES = """
import os, sys
sys.path.insert(0, {scripts!r})
import predict
sys.stdout = open(1, "w")  # buffered, whatever PYTHONUNBUFFERED says
predict.flags.FLAGS(["predict.py", "--saved_model=x"])
def found():
    for file in ("a.png", "b.png"):
        before = os.fstat(1).st_size
        yield file, ["red"], [0.5]
        assert os.fstat(1).st_size > before, file
predict.print_{form}(found())
"""


@pytest.mark.parametrize("form", ["json", "csv"])
def test_lines_are_written_as_answers_come(form):
    code = LINES.format(scripts=str(SCRIPT.parent), form=form)
    done = processes.run([sys.executable, "-c", code], timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(".png") == 2
