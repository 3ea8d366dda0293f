"""Files that are whole or not there at all."""

import os


def write_text(path, text):
    """Writes a text file in UTF-8, in one step.

    Args:
        path: `pathlib.Path`.
        text: String. Names of files in it may hold bytes that are not UTF-8, as `os.fsdecode`
            gives them.

    Raises:
        OSError: As `write` does.
    """
    data = text.encode("utf-8", "surrogateescape")
    write(path, lambda temporary: temporary.write_bytes(data))


def write(path, function):
    """Writes a file under another name, flushes it to the disk, and renames it.

    Args:
        path: `pathlib.Path`.
        function: Function that writes the file to the path that it is given, of the same suffix.

    Raises:
        OSError: If it cannot be written; a previous file under this name is left as it was.
    """
    temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        function(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        cause = _os_error(error)
        if cause is None:
            raise
        rest = f"; the previous one still loads: {path}" if path.exists() else ""
        reason = (cause.strerror or str(cause)).lower()
        raise OSError(f"cannot save {path}: {reason}{rest}") from error


def copy(source, target):
    """Copies a file, in one step.

    Raises:
        OSError: As `write` does.
    """
    data = source.read_bytes()
    write(target, lambda temporary: temporary.write_bytes(data))


def keep(path, name):
    """Gives a file that is about to be replaced a second name, whose former file goes.

    Args:
        path: `pathlib.Path` of the file.
        name: `pathlib.Path` in the same folder.

    Raises:
        OSError: If it cannot be written.
    """
    temporary = name.with_name(f"{name.stem}.tmp{name.suffix}")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links
        copy(path, name)
    else:
        os.replace(temporary, name)


def _os_error(error):
    """The first OSError in the chain of an exception: zipfile and h5py raise others after it."""
    found = None
    while error is not None:
        found = error if isinstance(error, OSError) else found
        error = error.__cause__ or error.__context__
    return found
