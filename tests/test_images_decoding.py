"""Decoding against Pillow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets.images import decode_image


def encode(pixels, kind, mode=None, **options):
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def pillow(data, mode="RGB"):
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def decode_in_graph(data, channels=3):
    """As in a pipeline or an export: inside a graph, of bytes known later."""
    signature = [tf.TensorSpec((), tf.string)]
    return tf.function(lambda d: decode_image(d, channels), signature)(data).numpy()


@pytest.mark.parametrize("decode", [decode_image, decode_in_graph])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:4:4", "quality": 95},
        {"subsampling": "4:2:0", "quality": 60},
        {"subsampling": "4:2:2"},
        {"progressive": True},
        {"mode": "L"},
        {"mode": "CMYK"},
    ],
    ids=str,
)
def test_jpeg_is_pillows_bit_for_bit(rng, options, decode):
    for shape in ((37, 53, 3), (8, 16, 3), (1, 5, 3)):  # whole and broken blocks
        data = encode(rng.integers(0, 256, shape, "uint8"), "JPEG", **options)
        np.testing.assert_array_equal(decode(data), pillow(data))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_jpeg_is_pillows_bit_for_bit(rng, mode):
    """One channel, as grey sets of tfds are read; of a colour file it is the luminance."""
    data = encode(rng.integers(0, 256, (20, 30, 3), "uint8"), "JPEG", mode=mode)
    image = Image.open(io.BytesIO(data))
    image.draft("L", None)
    np.testing.assert_array_equal(decode_image(data, 1)[..., 0], image)
