"""Preprocessing against an independent computation."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets import Preprocessing, UserError
from keras_resnets.images import resize


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


def uncut(image, p):
    """The whole image resized, then cropped, or padded with black, by NumPy."""
    sides = np.array(image.shape[:2])
    size = tuple(sides * p.resize // sides.min()) if isinstance(p.resize, int) else p.resize
    size = tuple(sides) if size is None else size
    whole = np.array(tf.image.resize(image, size, p.interpolation, antialias=True))
    if p.interpolation == "bicubic":
        whole = np.array(resize(image, size, p.interpolation))
    for axis, (side, wanted) in enumerate(zip(size, p.crop, strict=True)):
        missing = max(wanted - side, 0)
        pad = [(0, 0)] * 3
        pad[axis] = (missing // 2, missing - missing // 2)
        whole = np.pad(whole, pad)
        start = round(max(side - wanted, 0) / 2)
        whole = np.take(whole, range(start, start + wanted), axis)
    return p.standardize(whole)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("target", [32, 23, (40, 30), (20, 50), None])
@pytest.mark.parametrize("sides", [(1, 50), (60, 2), (7, 45), (33, 51), (80, 64), (120, 9)])
def test_a_crop_is_that_of_the_whole_resized_image(rng, sides, target, interpolation):
    image = rng.integers(0, 256, (*sides, 3), "uint8")
    p = Preprocessing((0.4,) * 3, (0.3,) * 3, target, (28, 25), interpolation)
    for prepare in (p, tf.function(p, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])):
        y = prepare(image)
        assert y.shape == (28, 25, 3)
        np.testing.assert_allclose(y, uncut(image, p), atol=1e-4)
    np.testing.assert_array_equal(p(np.stack([image] * 2))[1], p(image))


THIN = """
import resource
import numpy as np
import keras_resnets

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MB
prepare = keras_resnets.Preprocessing((0.5,) * 3, (0.5,) * 3, resize=256, crop=(224, 224))
prepare(np.zeros((300, 300, 3), "uint8"))
before = peak()
for shape in ((1, 2000, 3), (2000, 1, 3), (1, 16000, 3), (60000, 1, 3)):
    ramp = np.linspace(0, 255, max(shape)).astype("uint8")
    image = np.broadcast_to(ramp.reshape(shape[0], shape[1], 1), shape)
    y = np.array(prepare(np.array(image)))
    assert y.shape == (224, 224, 3) and abs(y).max() < 0.02, (shape, abs(y).max())  # the middle
    print(peak() - before)
"""


def test_a_thin_image_takes_no_memory(run_python):
    """Whole, the first would be resized to 256x512000, 1.6 GB."""
    assert max(map(int, run_python(THIN).stdout.split())) < 400


def pillow_in_float(image, size):
    """Bicubic, each pass of Pillow's in float, clipped as it does with bytes."""
    channels = []
    for channel in np.moveaxis(image, -1, 0).astype("float32"):
        for width, height in ((size[1], image.shape[0]), size[::-1]):
            channel = Image.fromarray(np.ascontiguousarray(channel), "F")
            channel = channel.resize((width, height), Image.Resampling.BICUBIC)
            channel = np.clip(np.array(channel), 0, 255)
        channels.append(channel)
    return np.stack(channels, -1)


@pytest.mark.parametrize(
    ("shape", "size"), [((90, 60), (30, 20)), ((20, 30), (50, 75)), ((90, 60), (45, 30)),
                        ((40, 60), (80, 20)), ((48, 32), (48, 64)), ((16, 16), (16, 16))]
)
def test_bicubic_is_pillows(rng, shape, size):
    """Also where an image grows, and of sides that are known late: one path for all."""
    image = (rng.integers(0, 2, (*shape, 3)) * 255).astype("uint8")  # it overshoots most here
    p = Preprocessing((0.0,) * 3, (1 / 255,) * 3, size, interpolation="bicubic")
    y = p(image).numpy()
    np.testing.assert_allclose(y, pillow_in_float(image, size), atol=5e-3)
    assert y.min() >= 0 and y.max() <= 255.001
    late = tf.function(p, input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    np.testing.assert_array_equal(late(image[None])[0], y)
    if shape[0] * size[1] == shape[1] * size[0]:  # else it may begin with the heights
        expected = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
        assert np.abs(y - np.array(expected, "float32")).max() <= 1.1  # it rounds twice


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


@pytest.mark.parametrize(
    ("mean", "std"), [((123, 116, 103), (58, 57, 57)), ((0.5,) * 3, (1, 1, 1.01)), ((104,), (1,))]
)
def test_statistics_of_whole_pixels_are_refused(mean, std):
    with pytest.raises(ValueError, match="^[^\n]*pixels in 0..255: divide them by 255. Received"):
        Preprocessing(mean, std)


def test_statistics_may_be_arrays(rng):
    p = Preprocessing(np.array([0.1, 0.2]), [0.3, np.float32(0.5)])
    assert p == Preprocessing((0.1, 0.2), (0.3, 0.5)) and p.get_config()["mean"] == (0.1, 0.2)
    for bad in ({"mean": 0.5}, {"std": "12"}, {"std": (float("nan"),)}, {"mean": (None,)}):
        with pytest.raises(ValueError, match="one number a channel"):
            Preprocessing(**{"mean": (0.5,), "std": (0.5,), **bad})


def test_config_comes_back():
    p = Preprocessing([0.5], [0.25], resize=[8, 9], crop=[4, 5], interpolation="bicubic")
    assert Preprocessing(**p.get_config()) == p


@pytest.mark.parametrize(
    "options",
    [{"std": (0.0,)}, {"std": (1.0, 1.0)}, {"interpolation": "nearest"}, {"resize": 0},
     {"crop": 224}, {"crop": (0, 4)}, {"resize": (4, 4, 4)}, {"resize": 2.5}, {"crop": "ab"}],
)
def test_refuses(options):
    with pytest.raises(UserError, match=r"^[^\n]*Received[^\n]*$"):
        Preprocessing(**{"mean": (0.5,), "std": (1.0,), **options})
