"""Image files that were decoded before are not decoded again, unless they changed."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import data
from keras_resnets.data import files, moments, sources
from keras_resnets.data.remembered import cache_folder
from keras_resnets.errors import UserError
from keras_resnets.images import decoding


@pytest.fixture
def photos(tmp_path, rng, monkeypatch):
    """Twelve PNG files of several sizes below train/ and test/, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, images = tmp_path / "photos", {}
    for place in range(12):
        part, name = ("train", "test")[place >= 8], ("cat", "dog")[place % 2]
        path = folder / part / name / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        images[path] = rng.integers(0, 256, (5 + place, 7, 3), "uint8")
        path.write_bytes(tf.io.encode_png(images[path]).numpy())
    return folder, images


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded when a set is opened."""
    seen, original = [], files._decoded

    def watched(paths, max_pixels):
        seen.extend(os.path.basename(path) for path in paths)
        return original(paths, max_pixels)

    monkeypatch.setattr(files, "_decoded", watched)
    return seen


def test_the_second_time_nothing_is_decoded(photos, decoded):
    folder, images = photos
    first = data.load_splits(str(folder))
    assert len(decoded) == 12 and len(list(cache_folder().iterdir())) == 1
    decoded.clear()
    again = data.load_splits(str(folder))
    assert not decoded
    for ours, theirs in zip(again, first, strict=True):
        assert ours.fingerprint == theirs.fingerprint
        for (image, label), (other, same) in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(image, other)
            assert label == same


def test_the_mean_needs_no_decoding(photos, decoded, monkeypatch):
    folder, _ = photos
    monkeypatch.setattr(moments, "_read_sums", None)
    for _ in range(2):
        train = data.load_splits(str(folder)).train
        pixels = np.concatenate([image.reshape(-1, 3) for image, _ in train]) / 255
        mean, std = data.statistics(train)
        np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
        np.testing.assert_allclose(std, pixels.std(0), rtol=1e-12)


def test_what_changed_is_looked_at_again(photos, decoded, rng):
    folder, images = photos
    data.load_splits(str(folder))
    changed = folder / "train" / "cat" / "2.png"
    changed.write_bytes(tf.io.encode_png(images[changed] // 2).numpy())
    os.utime(changed, ns=(1, 1))
    (folder / "train" / "dog" / "new.png").write_bytes(changed.read_bytes())
    decoded.clear()
    data.load_splits(str(folder))
    assert sorted(decoded) == ["2.png", "new.png"]
    changed.write_bytes(b"\x89PNG nothing")
    for _ in range(2):  # a fault is not remembered as sound, nor forgotten
        with pytest.raises(UserError, match="1 of 13 images cannot be used: .*2.png"):
            data.load_splits(str(folder))
    kept = data.load_splits(str(folder), skip_corrupt=True)
    assert kept.train.num_skipped == 1


def test_limits_hold_for_remembered_files_too(photos):
    folder, _ = photos
    data.load_splits(str(folder))
    with pytest.raises(UserError, match="cannot be used: .*11.png"):
        data.load_splits(str(folder), max_pixels=7 * 15)


@pytest.fixture
def small(photos):
    """The same as JPEG files of one size, each of a grey of its own."""
    folder, images = photos
    for place, path in enumerate(images):
        pixels = np.full((6, 6, 3), 20 * place, "uint8")
        path.write_bytes(tf.io.encode_jpeg(pixels, quality=100).numpy())
    return folder, list(images)


def test_images_of_one_shape_stay_in_memory(small, decoded, monkeypatch):
    folder, _ = small
    first = data.load_splits(str(folder))
    assert len(decoded) == 12
    decoded.clear()
    read, original = [], sources.read_image

    def watched(path, *arguments):
        tf.py_function(lambda path: read.append(path.numpy()), [path], [])
        return original(path, *arguments)

    monkeypatch.setattr(sources, "read_image", watched)
    again = data.load_splits(str(folder))
    assert not decoded and len(read) == 12  # once, for their pixels
    for ours, theirs in zip(again, first, strict=True):
        assert ours.loads_batches and theirs.loads_batches
        assert ours.fingerprint == theirs.fingerprint
        for place, (image, label) in enumerate(theirs):
            np.testing.assert_array_equal(ours[place][0], image)
            assert ours[place][1] == label and ours.file_name(place) == theirs.file_name(place)
    read.clear()
    test = data.load_splits(str(folder), test_split="test", splits=("test",)).test
    assert not decoded and len(read) == len(test) == 4  # none for training
    assert {os.path.basename(os.fsdecode(path)) for path in read} == {
        os.path.basename(test.file_name(place)) for place in range(4)
    }


def test_a_corrupt_file_among_small_ones_costs_the_others_nothing(small, decoded):
    folder, paths = small
    paths[0].write_bytes(b"broken")
    for count in (12, 1):
        decoded.clear()
        train = data.load_splits(str(folder), skip_corrupt=True).train
        assert len(decoded) == count and train.num_skipped == 1 and train.loads_batches


def rewrite(path, data):
    """Other bytes of the same size, at the same time."""
    facts = os.stat(path)
    path.write_bytes(data + path.read_bytes()[len(data) :])
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


@pytest.fixture
def jpegs(photos):
    """The photos of several sizes as JPEG files."""
    folder, images = photos
    for path, pixels in images.items():
        path.write_bytes(tf.io.encode_jpeg(pixels, quality=100).numpy())
    return folder, list(images)


def test_a_file_that_is_remembered_is_not_decoded_to_open_it(jpegs, decoded):
    folder, paths = jpegs
    data.load_splits(str(folder))
    rewrite(paths[0], b"\xff\xd8\xffbroken")
    decoded.clear()
    train = data.load_splits(str(folder), train_split="train").train
    assert not decoded
    name = paths[0].name
    with pytest.raises(OSError, match=f"{name} is not a whole"):  # once its pixels are needed
        list(train)


def test_the_bytes_tell_whether_a_header_is_needed(jpegs, monkeypatch):
    folder, _ = jpegs
    train = data.load_splits(str(folder), train_split="train").train
    before = {train.file_name(place): train[place][0] for place in range(len(train))}
    used, original = [], decoding.Header

    def watched(data):
        tf.py_function(lambda data: used.append(data.numpy()), [data], [])
        return original(data)

    monkeypatch.setattr(decoding, "Header", watched)
    other = tf.io.encode_jpeg(np.full((9, 9, 3), 200, "uint8"))
    changed = train.file_name(3)
    pathlib.Path(changed).write_bytes(other.numpy())  # since the folder was opened
    for place in range(len(train)):
        name = train.file_name(place)
        expected = np.full((9, 9, 3), 200) if name == changed else before[name]
        np.testing.assert_array_equal(train[place][0], expected)
    assert set(used) == {other.numpy()}


def test_a_test_looks_at_test_images_alone(photos, decoded):
    folder, _ = photos
    test = data.load_splits(str(folder), splits=("test",)).test
    assert sorted(decoded) == ["10.png", "11.png", "8.png", "9.png"]
    seen = [{(i.tobytes(), label) for i, label in part} for part in (
        test, data.load_splits(str(folder)).test
    )]  # fmt: skip
    assert seen[0] == seen[1] and len(seen[0]) == 4


@pytest.mark.parametrize("damage", ["truncated", "unwritable"])
def test_without_a_cache_files_are_looked_at_each_time(damage, photos, decoded, monkeypatch):
    folder, _ = photos
    if damage == "truncated":
        data.load_splits(str(folder))
        (path,) = cache_folder().iterdir()
        path.write_bytes(path.read_bytes()[:-100])
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/none")
    decoded.clear()
    assert data.load_splits(str(folder)).train.num_examples
    assert len(decoded) == 12
