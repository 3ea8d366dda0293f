"""Decoding against Pillow."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets.images import decode_image, is_image


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


def four_bit_bmp(indices, palette):
    """Pillow reads these, but does not write them."""
    height, width = indices.shape
    stride = -(-width * 4 // 32) * 4
    rows = np.zeros((height, stride * 2), np.uint8)
    rows[:, :width] = indices[::-1]
    pixels = (rows[:, ::2] << 4 | rows[:, 1::2]).tobytes()
    colours = b"".join(bytes([*colour[::-1], 0]) for colour in palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 4, 0, len(pixels), 0, 0, 16, 0)
    start = 14 + len(header) + len(colours)
    first = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return first + header + colours + pixels


def top_down(bmp):
    """The same picture with its rows from top to bottom, which a negative height says."""
    start, width, height = struct.unpack("<I4xii", bmp[10:26])
    rows = bmp[start:]
    stride = len(rows) // height
    rows = b"".join(rows[i * stride :][:stride] for i in reversed(range(height)))
    return bmp[:22] + struct.pack("<i", -height) + bmp[26:start] + rows


@pytest.mark.parametrize("decode", [decode_image, decode_in_graph])
@pytest.mark.parametrize("width", [1, 31, 32, 33])
def test_palette_bitmaps_of_any_depth(rng, width, decode):
    pixels = rng.integers(0, 256, (7, width, 3), "uint8")
    palette = rng.integers(0, 256, (16, 3), "uint8").tolist()
    files = [encode(pixels, "BMP", mode) for mode in ("1", "L", "P")]
    files.append(four_bit_bmp(rng.integers(0, 16, (7, width)), palette))
    for data in [*files, *map(top_down, files)]:
        np.testing.assert_array_equal(decode(data), pillow(data))


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"mode": "RGBA", "lossless": True}])
def test_webp(rng, options):
    data = encode(rng.integers(0, 256, (9, 14, 3), "uint8"), "WEBP", **options)
    np.testing.assert_array_equal(decode_in_graph(data), pillow(data))


def test_files_are_recognised_by_content(rng, tmp_path):
    pixels = rng.integers(0, 256, (9, 14, 3), "uint8")
    path = tmp_path / "no_suffix"
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        path.write_bytes(encode(pixels, kind))
        assert is_image(path) and is_image(str(path)), kind
    for data in (b"", b"RIFF", b"RIFF\0\0\0\0WAVEfmt ", b"BMW is a car, not a bitmap"):
        path.write_bytes(data)
        assert not is_image(path)
    assert is_image(tmp_path / "missing.JPG") and not is_image(tmp_path / "missing")
