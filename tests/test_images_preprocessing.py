"""Preprocessing against an independent computation."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets import Preprocessing


def test_standardizes_by_channel(rng):
    image = rng.integers(0, 256, (5, 6, 3), "uint8")
    p = Preprocessing((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    expected = (image / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    np.testing.assert_allclose(p(image), expected, atol=1e-5)
    np.testing.assert_allclose(p(image[None])[0], expected, atol=1e-5)
    assert p.channels == 3


@pytest.mark.parametrize(
    ("shape", "resize", "crop", "expected"),
    [((40, 60, 3), 32, (28, 28), (28, 28)), ((60, 41, 3), 32, None, (46, 32)),
     ((40, 60, 3), (10, 20), None, (10, 20)), ((9, 9, 1), None, (4, 6), (4, 6)),
     ((9, 7, 3), None, (12, 12), (12, 12))],
)
def test_sizes(rng, shape, resize, crop, expected):
    channels = shape[-1]
    p = Preprocessing((0.5,) * channels, (1.0,) * channels, resize, crop)
    image = rng.integers(0, 256, shape, "uint8")
    assert p(image).shape == (*expected, channels)
    assert p(np.stack([image, image])).shape == (2, *expected, channels)


@pytest.mark.parametrize(("shape", "size"), [((90, 60), (30, 40)), ((20, 30), (50, 60))])
def test_resizing_is_pillows(rng, shape, size):
    image = rng.integers(0, 256, shape, "uint8")
    y = Preprocessing((0.0,), (1 / 255,), size)(image[..., None])[..., 0]
    expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.abs(y - np.asarray(expected, "float32")).max() <= 1.0  # Pillow rounds to integers


def test_same_size_leaves_the_pixels_alone(rng):
    image = rng.integers(0, 256, (8, 8, 3), "uint8")
    plain = Preprocessing((0.5,) * 3, (0.5,) * 3)(image)
    np.testing.assert_array_equal(
        Preprocessing((0.5,) * 3, (0.5,) * 3, resize=8, crop=(8, 8))(image), plain
    )
    dynamic = tf.function(
        Preprocessing((0.5,) * 3, (0.5,) * 3, resize=(8, 8)),
        input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)],
    )
    np.testing.assert_allclose(dynamic(image), plain, atol=1e-6)


def test_crop_is_central():
    image = np.arange(49, dtype="uint8").reshape(7, 7, 1)
    y = Preprocessing((0.0,), (1 / 255,), crop=(3, 3))(image)[..., 0]
    np.testing.assert_allclose(y, image[2:5, 2:5, 0], atol=1e-4)


def test_config_comes_back():
    p = Preprocessing([0.5], [0.25], resize=[8, 9], crop=[4, 5], interpolation="bicubic")
    assert Preprocessing(**p.get_config()) == p


@pytest.mark.parametrize(
    "options",
    [{"std": (0.0,)}, {"std": (1.0, 1.0)}, {"interpolation": "nearest"}, {"resize": 0},
     {"crop": 224}, {"crop": (0, 4)}, {"resize": (4, 4, 4)}],
)
def test_refuses(options):
    with pytest.raises(ValueError, match=r"Received"):
        Preprocessing(**{"mean": (0.5,), "std": (1.0,), **options})
