"""Sources in a notebook: one's own images, and what a source shows of itself."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets import UserError, data
from keras_resnets.data.streaming import StreamedSource

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(20) % 3


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path, pixels in zip(paths, PIXELS, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def encode(pixels):
    return tf.io.encode_png(pixels).numpy()


@pytest.fixture
def streamed():
    examples = {"data": [encode(pixels) for pixels in PIXELS], "label": LABELS}
    examples = tf.data.Dataset.from_tensor_slices(examples)
    return StreamedSource("huge", ("a", "b", "c"), 20, (6, 5, 3), examples)


def assert_holds(source, places):
    assert len(source) == source.num_examples == len(places)
    for (image, label), place in zip(source, places, strict=True):
        np.testing.assert_array_equal(image, PIXELS[place])
        assert label == LABELS[place] and isinstance(label, int)


def test_arrays():
    assert_holds(data.from_arrays(PIXELS, LABELS), range(20))
    source = data.from_arrays(PIXELS.astype(np.int64), LABELS[:, None].tolist(), list("xyzw"))
    assert_holds(source, range(20))
    assert source.class_names == ("x", "y", "z", "w") and source.image_shape == (6, 5, 3)
    grey = data.from_arrays(PIXELS[..., 0], LABELS)
    assert grey.image_shape == (6, 5, 1) and grey.class_names == ("0", "1", "2")
    assert grey.file_name(3) == "image 3"


@pytest.mark.parametrize("as_array", [list, np.array, lambda x: np.array(x, object)])
def test_labels_may_be_names(as_array):
    names = ["dog", "cat", "emu"]
    source = data.from_arrays(PIXELS, as_array([names[i] for i in LABELS]))
    assert source.class_names == ("cat", "dog", "emu")
    assert [source.class_names[i] for i in source.labels] == [names[i] for i in LABELS]
    source = data.from_arrays(PIXELS, as_array([names[i] for i in LABELS]), names)
    np.testing.assert_array_equal(source.labels, LABELS)


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (PIXELS / 255, LABELS, {}, "whole numbers in 0..255, .* Received: float64 from 0.0 to 1.0"),
        (PIXELS.astype(int) - 1, LABELS, {}, "from -1 to"),
        (PIXELS[0, 0], LABELS, {}, r"one array .* Received: shape \(5, 3\)"),
        (PIXELS[:0], LABELS[:0], {}, "one array"),
        ([PIXELS[0], PIXELS[1, 1:]], LABELS[:2], {}, r"one array .* Received: shape \(2,\)"),
        (PIXELS, LABELS[:7], {}, r"each of the 20 images. Received: int64 of shape \(7,\)"),
        (PIXELS, np.eye(3)[LABELS], {}, r"float64 of shape \(20, 3\)"),
        (PIXELS, LABELS, {"class_names": ["a", "b"]}, "2 classes in .* Received: label 2"),
        (PIXELS, LABELS - 1, {}, "Received: label -1"),
        (PIXELS, ["a"] * 20, {"class_names": ["b", "c"]}, "Received: label 'a'"),
    ],
)
def test_what_is_no_set_of_images(images, labels, options, message):
    with pytest.raises(ValueError, match=f"^[^\n]*{message}"):
        data.from_arrays(images, labels, **options)


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_files(files, kind):
    source = data.from_files([kind(path) for path in files], LABELS)
    assert_holds(source, range(20))
    assert source.file_name(4) == str(files[4])
    Image.fromarray(PIXELS[0, :4]).save(files[0])  # of another size: read from disk
    assert_holds(data.from_files(files, LABELS)[1:], range(1, 20))


def test_files_that_cannot_be_used(files):
    files[3].write_bytes(b"text")
    with pytest.raises(ValueError, match="1 of 20 images cannot be used: .*/3.png is not a whole"):
        data.from_files(files, LABELS)
    source = data.from_files(files, LABELS, skip_corrupt=True)
    assert_holds(source, [i for i in range(20) if i != 3])
    assert source.num_skipped == 1
    with pytest.raises(ValueError, match=r"1 of 1 .*missing.png cannot be read: No such file"):
        data.from_files(["missing.png"], [0])
    os.mkfifo(files[0].parent / "pipe.jpg")  # nobody writes into it, ever
    for path in (files[0].parent / "pipe.jpg", files[0].parent):
        with pytest.raises(UserError, match=f"^`paths` must be files. Received: {path}$"):
            data.from_files([files[0], path], [0, 1])
    with pytest.raises(ValueError, match="has 30 pixels, more than max_pixels=29"):
        data.from_files(files, LABELS, max_pixels=29)
    for paths in ([], "photo.png"):
        with pytest.raises(ValueError, match="`paths` must be a sequence"):
            data.from_files(paths, [])


def test_a_path_is_a_folder(tmp_path, monkeypatch):
    for name in ("digits/a/1.png", "digits/b/1.png", "digits/a/2.png", "digits/b/2.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[0]).save(path)
    monkeypatch.chdir(tmp_path)
    assert data.load_splits(pathlib.Path("digits")).train.num_examples == 2
    with pytest.raises(FileNotFoundError, match="There is no folder cifar10"):
        data.load_splits(pathlib.Path("cifar10"))
    with pytest.raises(ValueError, match="not prepared in"):
        data.load_splits("cifar10", data_dir=tmp_path)


@pytest.mark.parametrize("kind", ["arrays", "files", "streamed"])
def test_places_and_slices(kind, files, streamed):
    source = {
        "arrays": data.from_arrays(PIXELS, LABELS),
        "files": data.from_files(files, LABELS),
        "streamed": streamed,
    }[kind]
    for place in (0, 7, np.int64(19), -1, -20):
        image, label = source[place]
        np.testing.assert_array_equal(image, PIXELS[place])
        assert image.dtype == np.uint8 and label == LABELS[place]
    for place in (20, -21):
        with pytest.raises(IndexError, match=f"has no example {place}"):
            source[place]
    assert_holds(source[5:15], range(5, 15))
    assert_holds(source[5:15][2:4], range(7, 9))
    assert_holds(source[-3:], range(17, 20))
    assert_holds(source[:], range(20))
    if kind == "streamed":
        with pytest.raises(ValueError, match="slices without a step"):
            source[::2]
    else:
        assert_holds(source[::-2], range(19, -1, -2))
        assert_holds(source[[3, 1, 1]], [3, 1, 1])
        assert_holds(source[source.labels == 2], np.flatnonzero(LABELS == 2))
        assert source[5:][0:1].file_name(0) == source.file_name(5)


def test_an_example_that_cannot_be_read_is_named(files):
    Image.fromarray(PIXELS[0, :4]).save(files[0])
    source = data.from_files(files, LABELS)
    files[2].unlink()
    for read in (lambda: source[2], lambda: list(source)):
        with pytest.raises(OSError, match=r"^Cannot read .*/2\.png: No such file or directory$"):
            read()


def test_out_of_memory_is_not_called_an_image(files):
    source = data.from_files(files, LABELS)

    def load(reference):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    object.__setattr__(source, "load", load)
    with pytest.raises(tf.errors.ResourceExhaustedError):
        source[2]


def test_a_source_says_in_a_line_what_it_is(files, streamed):
    splits = data.load_splits("digits")
    assert repr(splits.train) == "Source('digits': 1293 images of 8x8x1, 10 classes)"
    assert repr(streamed[:7]) == "StreamedSource('huge': 7 images of 6x5x3, 3 classes)"
    assert len(repr(splits)) < 300 and "\n" not in repr(splits)
    several = dataclasses.replace(streamed, shape=(None, None, 3))
    assert "20 images of several sizes, 3 channels" in repr(several)
    assert "tf.Tensor" not in repr(splits.train.images)


def test_fingerprints_change_with_what_is_in_a_source(files, tmp_path):
    def of(paths=files, labels=LABELS, **options):
        return data.from_files(paths, labels, **options).fingerprint

    first = of()
    assert of() == first and len(first) == 16
    others = [
        of(files[:19], LABELS[:19]),
        of(files[::-1], LABELS),
        of(files, LABELS[::-1]),
        of(class_names=["a", "b", "c"]),
        of([files[1], *files[1:]]),
    ]
    Image.fromarray(np.zeros((6, 5, 3), np.uint8)).save(files[4])  # a smaller file
    others.append(of())
    assert len({first, *others}) == 7


def test_a_folder_that_moved_is_the_same_and_one_with_a_photo_more_is_not(tmp_path):
    for i in range(20):
        path = tmp_path / "here" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[i]).save(path)
    whole = data.load_splits(tmp_path / "here")
    found = [part.fingerprint for part in whole]
    assert len(set(found)) == 3
    (tmp_path / "here").rename(tmp_path / "there")
    assert [part.fingerprint for part in data.load_splits(tmp_path / "there")] == found
    Image.fromarray(PIXELS[0]).save(tmp_path / "there" / "a" / "more.png")
    assert data.load_splits(tmp_path / "there").train.fingerprint != found[0]


def test_fingerprints_of_other_sources(streamed):
    digits = data.load_splits("digits")
    assert digits.train.fingerprint == data.load_splits("digits").train.fingerprint
    assert digits.train.fingerprint != data.load_splits("digits", seed=1).train.fingerprint
    arrays = data.from_arrays(PIXELS, LABELS)
    assert arrays[:10].fingerprint != arrays[10:].fingerprint
    assert arrays.fingerprint == data.from_arrays(PIXELS.copy(), LABELS).fingerprint
    assert arrays.fingerprint != data.from_arrays(255 - PIXELS, LABELS).fingerprint
    assert streamed.fingerprint != streamed[:5].fingerprint == streamed[5:10].fingerprint
