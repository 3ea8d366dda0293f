"""Resizing by two passes over rows is TensorFlow's own, bit for bit; so is standardization."""

import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import Preprocessing
from keras_resnets.images import resize, resize_window, resizing

SIZES = [((40, 50), (20, 30)), ((40, 50), (60, 20)), ((7, 90), (12, 12)), ((1, 5), (3, 2))]


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize(("sides", "size"), SIZES)
def test_antialiasing_is_tensorflows(sides, size, kind, rng):
    images = rng.integers(0, 256, (2, *sides, 3)).astype(kind)
    expected = tf.image.resize(images, size, antialias=True)
    resized = resize(images, size)
    np.testing.assert_array_equal(resized, expected)
    assert resized.shape == (2, *size, 3)
    np.testing.assert_array_equal(resize(images[0], tf.constant(size)), expected[0])
    late = tf.function(resize, input_signature=[
        tf.TensorSpec((None, None, None, 3), kind), tf.TensorSpec((2,), tf.int32)
    ])  # fmt: skip
    np.testing.assert_array_equal(late(images, size), expected)


@pytest.mark.parametrize("offset", [(0, 0), (3, 5), (-4, 2)])
def test_a_window_is_what_one_operation_makes_of_it(offset, rng):
    image = rng.integers(0, 256, (1, 30, 44, 3)).astype("uint8")
    size, window = (20, 30), (12, 16)
    expected = tf.raw_ops.ScaleAndTranslate(
        images=image, size=window, scale=np.float32(size) / (30, 44),
        translation=-np.float32(offset), kernel_type="triangle", antialias=True,
    )  # fmt: skip
    made = resize_window(image, size, offset, window)
    np.testing.assert_allclose(made, expected, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_standardization_is_its_formula(channels, rng):
    mean, std = (0.485, 0.456, 0.406)[:channels], (0.229, 0.224, 0.225)[:channels]
    images = rng.integers(0, 256, (3, 6, 7, channels)).astype("uint8")
    low, high = (np.float32(values) * np.float32(255) for values in (mean, std))
    expected = (images.astype("float32") - low) / high
    standardize = Preprocessing(mean, std).standardize
    np.testing.assert_array_equal(standardize(images), expected)
    np.testing.assert_array_equal(standardize(images[0]), expected[0])
    spec = tf.TensorSpec((None, None, None, channels), tf.uint8)
    late = tf.function(standardize, input_signature=[spec])
    np.testing.assert_array_equal(late(images), expected)


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sides", [(1, 30_000), (30_000, 1), (2, 25_000)])
def test_long_strips_shrink_before_they_grow(rng, kernel, sides, monkeypatch):
    """With no more pixels in between than the larger of the image and what becomes of it."""
    images = rng.integers(0, 256, (*sides, 3), "uint8")
    seen = []
    heights = resizing._heights

    def watched(*arguments):
        seen.append(heights(*arguments))
        return seen[-1]

    with monkeypatch.context() as patch:
        patch.setattr(resizing, "_LARGE", 10**9)
        expected = resize(images, (200, 200), kernel)
    monkeypatch.setattr(resizing, "_heights", watched)
    found = resize(images, (200, 200), kernel)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert max(int(tf.size(one)) for one in seen) <= max(images.size, 200 * 200 * 3)
