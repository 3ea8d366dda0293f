"""Image files that were decoded before are not decoded again, unless they changed."""

import os

import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import data
from keras_resnets.data import files, moments
from keras_resnets.data.remembered import cache_folder
from keras_resnets.errors import UserError


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


def test_images_of_one_shape_stay_in_memory(photos, decoded):
    folder, images = photos
    for path in images:
        path.write_bytes(tf.io.encode_png(np.full((6, 6, 3), 9, "uint8")).numpy())
    for _ in range(2):
        decoded.clear()
        assert data.load_splits(str(folder)).train.loads_batches
        assert len(decoded) == 12


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
