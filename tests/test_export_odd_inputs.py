"""What each bad or odd input gives: measured here, told in saved_models/README.md."""

import io
import pathlib
import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_export import encode, expected, serve, small_network

from keras_resnets.serving import export

README = pathlib.Path(__file__).parents[1] / "saved_models" / "README.md"
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 2**16, (40, 50, 3)).astype(np.uint16)
LONG = RNG.integers(0, 256, (10, 10_000, 3), dtype=np.uint8)


def save(form, *images, **options):
    file = io.BytesIO()
    first, *rest = images
    if rest:
        options |= {"save_all": True, "append_images": rest}
    first.save(file, form, **options)
    return file.getvalue()


def declared_png(width, height):
    """A small PNG whose header declares any size."""

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


RGB = Image.fromarray(IMAGE)
TURNED = Image.fromarray(IMAGE[::-1].copy())
GREY, CMYK = RGB.convert("L"), RGB.convert("CMYK")
GIF = save("GIF", RGB.quantize(16), TURNED.quantize(16))
PNG, JPEG = encode(IMAGE, "PNG"), encode(IMAGE, "JPEG")
ALPHA = np.dstack([IMAGE, IMAGE[..., 0]])


def read(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# Words, the file, and the pixels that it must be taken for, `None` for a row that is not valid.
INPUTS = [
    ("no image: text, HTML, PDF", b"<html>404</html>", None, "nothing"),
    ("empty string", b"", None, "nothing"),
    ("JPEG cut off, by half or by its last 2 bytes", [JPEG[:1000], JPEG[:-2]], None, "nothing"),
    ("PNG cut off, by half or by its last byte", [PNG[:3000], PNG[:-1]], None, "nothing"),
    ("1x1", save("PNG", RGB.crop((0, 0, 1, 1))), IMAGE[:1, :1], "enlarged"),
    ("10,000x10", encode(LONG, "PNG"), LONG, "preprocessed as any other"),
    ("30,000x30,000 declared", declared_png(30_000, 30_000), None,
     "nothing: above `max_pixels`, refused before it is decoded"),
    ("grey JPEG, PNG", [save("JPEG", GREY), save("PNG", GREY)],
     [read(save("JPEG", GREY)), read(save("PNG", GREY))], "three equal channels"),
    ("RGBA PNG", encode(ALPHA, "PNG"), IMAGE, "its colours; alpha is dropped"),
    ("CMYK JPEG", save("JPEG", CMYK), read(save("JPEG", CMYK)), "RGB, no colour profile applied"),
    ("16-bit PNG", tf.io.encode_png(DEEP).numpy(), np.uint8(DEEP >> 8), "the upper 8 bits"),
    ("animated GIF", GIF, read(GIF), "its first frame"),
    ("WebP", save("WEBP", RGB, lossless=True), IMAGE, "RGB"),
    ("RGBA WebP", save("WEBP", Image.fromarray(ALPHA), lossless=True, exact=True), IMAGE,
     "its colours; alpha is dropped"),
    ("animated WebP", [save("WEBP", RGB, TURNED, lossless=True),
                       save("WEBP", Image.fromarray(ALPHA), TURNED)], None, "nothing"),
]


@pytest.fixture(scope="module")
def network():
    return small_network()


@pytest.fixture(scope="module")
def signature(network, tmp_path_factory):
    return serve(export(network, "net", tmp_path_factory.mktemp("root")))


def rows_of(files, pixels):
    files = files if isinstance(files, list) else [files]
    return [(file, pixels[i] if isinstance(pixels, list) else pixels)
            for i, file in enumerate(files)]


@pytest.mark.parametrize(("name", "files", "pixels", "words"), INPUTS, ids=[i[0] for i in INPUTS])
def test_what_an_input_is_taken_for(network, signature, name, files, pixels, words):
    for data, image in rows_of(files, pixels):
        for batch in ([data], [PNG, data]):  # alone, and with another
            answer = signature(image_bytes=tf.constant(batch))
            assert answer["valid"][-1].numpy() == (image is not None)
            if image is None:
                assert np.isnan(answer["probabilities"][-1]).all()
                assert not answer["classes"][-1].numpy().any()
            else:
                row = answer["probabilities"][-1]
                np.testing.assert_allclose(row, expected(network, [image])[0], atol=1e-5)
            assert answer["valid"][0].numpy() or len(batch) == 1


def test_an_empty_batch(signature):
    answer = signature(image_bytes=tf.constant([], tf.string))
    assert {values.shape[0] for values in answer.values()} == {0}


def test_the_table_is_what_was_measured():
    lines = ["| input | `valid` | taken for |", "| --- | --- | --- |"]
    for name, files, pixels, words in INPUTS:
        valid = {image is not None for _, image in rows_of(files, pixels)}
        assert len(valid) == 1
        lines.append(f"| {name} | {'yes' if valid == {True} else 'no'} | {words} |")
    lines.append("| empty batch | no rows | outputs of 0 rows |")
    found = re.search(r"^\| input \| `valid` .*?\n\n", README.read_text(), re.DOTALL | re.MULTILINE)
    assert found and found.group().splitlines()[:-1] == lines
