"""Image files: which they are."""

import os

FORMATS = "JPEG, PNG, GIF, BMP or WebP"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic")


def is_image(path):
    """Whether a file is a JPEG, PNG, GIF, BMP or WebP image by its first bytes, or named like one.

    A file that is named like one and cannot be decoded is corrupt, not to be overlooked.
    """
    path = os.fspath(path)
    if path.lower().endswith(IMAGE_SUFFIXES):
        return True
    try:
        with open(path, "rb") as file:
            start = file.read(18)
    except OSError:
        return False
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")):
        return True
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return True
    # Text may begin with BM too; the length of a bitmap's second header is one of these.
    is_bitmap = start.startswith(b"BM") and len(start) == 18
    return is_bitmap and int.from_bytes(start[14:], "little") in (40, 52, 56, 108, 124)
