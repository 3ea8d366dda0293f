"""Decoding against Pillow."""

import io
import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets.images import count_pixels, decode_image, find_fault, is_image, read_image
from keras_resnets.images.gif import first_frame


def encode(pixels, kind, mode=None, **options):
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def pillow(data, mode="RGB"):
    return np.asarray(Image.open(io.BytesIO(data)).convert(mode))


def decode_in_graph(data, **options):
    """As in a pipeline or an export: inside a graph, of bytes known later."""
    signature = [tf.TensorSpec((), tf.string)]
    return tf.function(lambda d: decode_image(d, **options), signature)(data).numpy()


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


@pytest.mark.parametrize("decode", [decode_image, decode_in_graph])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"subsampling": "4:2:0", "quality": 60}),
        ("JPEG", {"subsampling": "4:2:2", "progressive": True}),
        ("JPEG", {"mode": "CMYK"}),
        ("PNG", {}),
        ("BMP", {"mode": "P"}),
    ],
    ids=str,
)
def test_a_window_is_a_part_of_the_whole(rng, kind, options, decode):
    data = encode(rng.integers(0, 256, (43, 57, 3), "uint8"), kind, **options)
    whole = decode_image(data).numpy()
    for top, left, tall, wide in ((0, 0, 43, 57), (7, 9, 20, 31), (42, 56, 1, 1), (3, 16, 17, 16)):
        part = decode(data, window=lambda sides, box=(top, left, tall, wide): tf.constant(box))
        np.testing.assert_array_equal(part, whole[top : top + tall, left : left + wide])
    quarter = decode(data, window=lambda sides: tf.concat([sides // 2, sides // 4], 0))
    np.testing.assert_array_equal(quarter, whole[21:31, 28:42])


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


@pytest.mark.parametrize("decode", [decode_image, decode_in_graph])
@pytest.mark.parametrize("places", [(2, 1, 0), (0, 1, 2), (3, 2, 1), (1, 2, 3)])
def test_bitmaps_whose_masks_say_which_byte_is_which_colour(rng, places, decode):
    image = rng.integers(0, 256, (7, 5, 3), "uint8")
    data = masked_bmp(image, places, [255 << 8 * place for place in places])
    np.testing.assert_array_equal(decode(data), image)
    assert find_fault(data) is None
    ten_bits = masked_bmp(image, places, [1023 << 20, 1023 << 10, 1023])
    assert "is not a whole" in find_fault(ten_bits)


def masked_bmp(image, places, masks):
    """32 bits a pixel; `places` are the bytes of red, green and blue."""
    height, width = image.shape[:2]
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[..., places] = image[::-1]
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 32, 3, pixels.size, 0, 0, 0, 0)
    start = 14 + len(header) + 12
    first = b"BM" + struct.pack("<IHHI", start + pixels.size, 0, 0, start)
    return first + header + struct.pack("<III", *masks) + pixels.tobytes()


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"mode": "RGBA", "lossless": True}])
def test_webp(rng, options):
    data = encode(rng.integers(0, 256, (9, 14, 3), "uint8"), "WEBP", **options)
    np.testing.assert_array_equal(decode_in_graph(data), pillow(data))


@pytest.mark.parametrize("options", [{}, {"lossless": True, "exact": True}])
def test_webp_with_alpha(rng, options, tmp_path):
    data = encode(rng.integers(0, 256, (9, 14, 4), "uint8"), "WEBP", **options)
    np.testing.assert_array_equal(decode_in_graph(data), pillow(data))
    (tmp_path / "a.webp").write_bytes(data)
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.webp")), pillow(data))
    assert find_fault(data) is None


def test_the_channels_are_known_before_the_file_is():
    for decode in (decode_image, read_image):
        graph = tf.function(decode, [tf.TensorSpec((), tf.string)]).get_concrete_function()
        assert graph.output_shapes.as_list() == [None, None, 3]


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


KINDS = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True, "exif": Image.Exif(), "comment": b"x" * 5000}),
    ("PNG", {}),
    ("GIF", {}),
    ("BMP", {}),
    ("BMP", {"mode": "1"}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),  # an extended header
]


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda part: "".join(part))
def test_pixels_are_counted_by_the_header(kind, options):
    for height, width in ((37, 53), (300, 2), (1, 700)):
        data = encode(np.zeros((height, width, 3), "uint8"), kind, **options)
        assert count_pixels(data) == height * width
        assert decode_in_graph(data, max_pixels=height * width).shape == (height, width, 3)
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            decode_in_graph(data, max_pixels=height * width - 1)
        assert f"{height * width} pixels, more than max_pixels=" in str(error.value)


def animated(rng, count, **options):
    frames = rng.integers(0, 256, (count, 40, 50, 3), "uint8")
    first, *others = (Image.fromarray(frame).quantize(200) for frame in frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=20, **options)
    return file.getvalue()


@pytest.mark.parametrize("decode", [decode_image, decode_in_graph])
@pytest.mark.parametrize("options", [{}, {"comment": b"long " * 200}], ids=["", "comment"])
def test_of_a_gif_no_more_than_the_first_frame_is_decoded(rng, decode, options):
    data = animated(rng, 4, **options)
    end = int(first_frame(data)[0])
    np.testing.assert_array_equal(decode(data), pillow(data))
    for start in (data[:end], data[: end + 50], data[:end] + b"no block"):
        np.testing.assert_array_equal(decode(start), pillow(data))
    for start in (data[: end - 1], data[: end // 2], data[:60], data[:14]):
        assert find_fault(start) == "is not a whole JPEG, PNG, GIF, BMP or WebP image"


def test_a_frame_of_a_gif_may_be_larger_than_its_screen():
    data = bytearray(encode(np.zeros((40, 50, 3), "uint8"), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)
    data = bytes(data)
    assert count_pixels(data) == 2000
    assert decode_in_graph(data, max_pixels=2000).shape == (40, 50, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="2000 pixels, more than max_pixels"):
        decode_in_graph(data, max_pixels=1999)


def test_blocks_of_a_gif_may_have_any_length(rng):
    """Those of a writer that fills none, and a file of so many of them that it is refused."""
    data = encode(rng.integers(0, 256, (40, 50, 3), "uint8"), "GIF")
    end = int(first_frame(data)[0])
    start = data.rindex(b",\0\0\0\0") + 11  # behind the descriptor and the code size
    blocks, place = b"", start
    while data[place]:
        blocks += data[place + 1 : place + 1 + data[place]]
        place += 1 + data[place]
    assert place == end - 1

    def divided(lengths):
        parts, at = b"", 0
        for length in itertools.cycle(lengths):
            if at >= len(blocks):
                return data[:start] + parts + b"\0;"
            part = blocks[at : at + length]
            parts, at = parts + bytes([len(part)]) + part, at + length

    for lengths in ((1,), (7,), (200, 3, 3, 90)):
        np.testing.assert_array_equal(decode_in_graph(divided(lengths)), pillow(data))
    many = data[:start] + b"\1\0\2\0\0" * 1000 + b"\0;"
    assert find_fault(many) == "is not a whole JPEG, PNG, GIF, BMP or WebP image"


def test_bitmap_from_top_to_bottom_counts_alike():
    assert count_pixels(top_down(encode(np.zeros((7, 9, 3), "uint8"), "BMP"))) == 63


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0", b"no image at all, but long enough"])
def test_what_is_no_image_has_no_pixels(data):
    assert count_pixels(data) == 0
    assert find_fault(data) == "is not a whole JPEG, PNG, GIF, BMP or WebP image"


def test_faults(tmp_path, rng):
    path = tmp_path / "a.png"
    data = encode(rng.integers(0, 256, (8, 9, 3), "uint8"), "PNG")
    path.write_bytes(data)
    assert find_fault(path) is None and find_fault(data) is None
    assert find_fault(str(path), 71) == "has 72 pixels, more than max_pixels=71"
    path.write_bytes(data[:100])
    assert find_fault(path) == "is not a whole JPEG, PNG, GIF, BMP or WebP image"
    assert find_fault(tmp_path / "b.png") == "cannot be read: No such file or directory"


def test_reading_a_file_names_it(tmp_path, rng):
    pixels = rng.integers(0, 256, (8, 9, 3), "uint8")
    files = {"good.png": encode(pixels, "PNG"), "cut.png": encode(pixels, "PNG")[:100]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    def read(name, **options):
        paths = tf.data.Dataset.from_tensors(str(tmp_path / name))
        (image,) = paths.map(lambda path: read_image(path, **options)).as_numpy_iterator()
        return image

    np.testing.assert_array_equal(read("good.png"), pixels)
    np.testing.assert_array_equal(read_image(str(tmp_path / "good.png")), pixels)
    for name, options, message in (
        ("cut.png", {}, "is not a whole JPEG, PNG, GIF, BMP or WebP image"),
        ("good.png", {"max_pixels": 71}, "has 72 pixels, more than max_pixels=71"),
        ("missing.png", {}, "; No such file or directory"),
    ):
        with pytest.raises(tf.errors.OpError) as error:
            read(name, **options)
        assert f"{tmp_path / name}{'' if message[0] == ';' else ' '}{message}" in str(error.value)
