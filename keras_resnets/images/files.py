"""Image files: which they are, and where."""

import os
import stat
from typing import NamedTuple

from keras_resnets.errors import UserError

FORMATS = "JPEG, PNG, GIF, BMP or WebP"
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic")


def is_image(path):
    """Whether a file is a JPEG, PNG, GIF, BMP or WebP image by its first bytes, or named like one.

    A file that is named like one and cannot be decoded is corrupt, not to be overlooked. What is
    no file, such as a pipe, is no image whatever its name: reading it could wait for ever.
    """
    path = os.fspath(path)
    is_named = path.lower().endswith(IMAGE_SUFFIXES)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        if is_named:
            return True
        with open(path, "rb") as file:
            start = file.read(18)
    except OSError:
        return is_named
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")):
        return True
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return True
    # Text may begin with BM too; the length of a bitmap's second header is one of these.
    is_bitmap = start.startswith(b"BM") and len(start) == 18
    return is_bitmap and int.from_bytes(start[14:], "little") in (40, 52, 56, 108, 124)


def printable(path):
    """A path as text that can be written anywhere; file systems also take names that are not."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def subfolders(path):
    """The names of the folders in a folder, sorted, hidden ones left out."""
    return [entry.name for entry in _entries(path) if _is_folder(entry)]


def image_files(folders):
    """The image files in folders and below them, hidden ones left out.

    Links to folders are followed, but no real folder counts twice, be it below one of `folders` or
    below two: where it is reached without a link, it counts there, else by the first link to it;
    one of `folders` counts for itself only. A link to a folder that it is in itself is not
    followed: there would be no end.

    Args:
        folders: Sequence of paths.

    Returns:
        List of a list of paths for each folder: its own files by name, then those of the folders in
        it.

    Raises:
        ValueError: If two of `folders` are one.
        OSError: If a folder cannot be read.
    """
    owners, linked = {}, set()
    for folder in folders:
        other = owners.setdefault(_identity(folder), folder)
        if other is not folder:
            raise UserError(f"{printable(other)} and {printable(folder)} are the same folder")
    visits = [list(_visit(folder, False, linked, owners)) for folder in folders]
    real = {visit.identity for walk in visits for visit in walk if not visit.is_linked}
    return [
        [
            file
            for visit in walk
            if not (visit.is_linked and visit.identity in real)
            for file in visit.files
            if is_image(file)
        ]
        for walk in visits
    ]


class _Visit(NamedTuple):
    """A folder that a walk came through; `is_linked` if by a link."""

    identity: tuple
    is_linked: bool
    files: list


def _visit(folder, is_linked, linked, owners):
    identity = _identity(folder)
    if is_linked and identity in linked:
        return
    if is_linked:
        linked.add(identity)
    below, files = [], []
    for entry in _entries(folder):
        (below if _is_folder(entry) else files).append(entry)
    yield _Visit(identity, is_linked, [entry.path for entry in files])
    for entry in below:
        is_link = entry.is_symlink()
        is_other = _identity(entry.path) in owners  # which is walked for itself
        if not is_other and not (is_link and _leads_back(entry.path, folder)):
            yield from _visit(entry.path, is_linked or is_link, linked, owners)


def _entries(folder):
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        text = f"Cannot read the folder {printable(folder)}: {error.strerror}"
        raise type(error)(text) from error
    return sorted(visible, key=lambda entry: entry.name)


def _is_folder(entry):
    # A link may lead nowhere or in a circle, where entry.is_dir() raises.
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _identity(folder):
    facts = os.stat(folder)
    return facts.st_dev, facts.st_ino


def _leads_back(link, folder):
    target, folder = os.path.realpath(link), os.path.realpath(folder)
    return os.path.commonpath([target, folder]) == target
