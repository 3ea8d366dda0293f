"""The folders of a served model: `<root>/<name>/<version>/`, each whole or not there."""

import contextlib
import errno
import os
import shutil
import uuid

from keras_resnets.locks import try_lock
from keras_resnets.serving.formats import METADATA

PART = ".export-"


@contextlib.contextmanager
def new_version(root, name):
    """A folder to write an export into, which becomes the next free version at the block's end.

    The version appears under its number only when it is whole, so that a server polling the folder
    never loads half of one; exporters at the same time take different versions. Nothing is left of
    a block that fails.

    Args:
        root: String or path.
        name: String. The name to serve the model by, one folder below `root`.

    Yields:
        `Part`: `path`, the folder to write into, and after the block `version`, where it is now.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder = os.path.join(root, name)
    is_new = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)
    try:
        with _part(folder) as path:
            part = Part(path)
            yield part
            part.version = _rename_to_next_version(path, folder)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # another exporter has something in it
                os.rmdir(folder)
        raise


def check_writable(root, name):
    """Finds out, before the work of an export, whether a folder can be made for it.

    Args:
        root: String or path.
        name: String.

    Raises:
        OSError: If it cannot.
    """
    folder = place = os.path.abspath(os.path.join(root, name))
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    probe = os.path.join(place, f"{PART}{uuid.uuid4().hex}")
    try:
        os.mkdir(probe)
    except OSError as error:
        raise OSError(f"Cannot write {folder}: {error.strerror}") from error
    with contextlib.suppress(FileNotFoundError):  # another exporter took it for one that was left
        os.rmdir(probe)


class Part:
    """An export at work: `path` while it is written, `version` once it is whole."""

    def __init__(self, path):
        self.path, self.version = path, None


def versions(folder):
    """The version numbers below a served model's folder, ascending."""
    return sorted(int(entry) for entry in os.listdir(folder) if entry.isdecimal())


def exports(folder):
    """The versions below a served model's folder that this package wrote, ascending."""
    if not os.path.isdir(folder):
        return []
    paths = {version: os.path.join(folder, str(version)) for version in versions(folder)}
    return [
        version
        for version, path in paths.items()
        if os.path.isfile(os.path.join(path, METADATA)) and not os.path.islink(path)
    ]


def remove_oldest(folder, keep, spare):
    """Removes the exports below a served model's folder but the newest ones.

    Each is renamed first, so that a server never sees half a version; what a killed process leaves
    goes with the next export.

    Args:
        folder: String or path.
        keep: Int. How many of the newest exports to keep.
        spare: Collection of ints, versions that stay whatever their age.

    Returns:
        List of the versions that were removed.

    Raises:
        OSError: If a folder cannot be renamed.
    """
    removed = [version for version in exports(folder)[:-keep] if version not in spare]
    for version in removed:
        part = os.path.join(folder, f"{PART}{uuid.uuid4().hex}")
        os.rename(os.path.join(folder, str(version)), part)
        shutil.rmtree(part, ignore_errors=True)
    return removed


@contextlib.contextmanager
def _part(folder):
    """A folder that is no version to any server, and that goes at the end.

    Its lock ends with this process: what exporters left that were killed is known by it, and goes
    first.
    """
    part = os.path.join(folder, f"{PART}{uuid.uuid4().hex}")
    with _opened(folder) as lock:
        try_lock(lock, wait=True)  # between being made and being locked, a folder looks left
        for entry in os.listdir(folder):
            if entry.startswith(PART):
                _remove_if_left(os.path.join(folder, entry))
        os.mkdir(part)
        own = os.open(part, os.O_RDONLY)
        try_lock(own)
    try:
        yield part
    finally:  # Ctrl-C too
        shutil.rmtree(part, ignore_errors=True)
        os.close(own)


def _remove_if_left(part):
    # By now it may have become a version.
    with contextlib.suppress(FileNotFoundError), _opened(part) as descriptor:
        if try_lock(descriptor):
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _rename_to_next_version(part, folder):
    while True:
        path = os.path.join(folder, str(max(versions(folder), default=0) + 1))
        try:
            os.rename(part, path)
            return path
        except OSError as error:
            # Another exporter was faster: a folder with something in it is not replaced.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
