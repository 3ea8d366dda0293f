"""Which image files are meant by files, folders, patterns and lists of them."""

import fnmatch
import glob
import os

from keras_resnets.errors import UserError
from keras_resnets.images import image_files, is_image, printable


def find_images(arguments):
    """The image files that are meant by files, folders and glob patterns, in order.

    A file that is named is taken as it is. Of a folder (with those below it) and of a pattern's
    matches, images are taken: files with an image's content, or with its suffix in any case
    (those may be broken, which is for the reader to say). Hidden files are left alone.

    Args:
        arguments: Sequence of strings or paths.

    Returns:
        List of strings.

    Raises:
        UserError: If a name has a zero byte.
        FileNotFoundError: If an argument gives no image.
    """
    images = []
    for argument in map(os.fspath, arguments):
        if "\0" in argument:
            raise UserError(
                "Names must be without zero bytes, on stdin one a line (`find -print`, not "
                f"`-print0`). Received: {argument[:80]!r}"
            )
        if os.path.isfile(argument):
            found = [argument]
        elif os.path.isdir(argument):
            (found,) = image_files([argument])
        else:
            matches = sorted(_matches(argument))
            if not matches:
                raise FileNotFoundError(f"No such file, folder or match: {printable(argument)}")
            found = []
            for match in matches:
                if os.path.isdir(match):
                    found += image_files([match])[0]
                elif is_image(match):
                    found.append(match)
            # A pattern may match a folder and a link to it.
            found = list({_real_place(file): file for file in reversed(found)}.values())[::-1]
        if not found:
            raise FileNotFoundError(f"No image in {printable(argument)}")
        images += found
    return images


def _matches(pattern):
    """As `glob.glob`; but that takes `**` round a loop of links until a path is too long."""
    parts = pattern.split(os.sep)
    if "**" not in parts:
        return glob.glob(pattern)
    deep = parts.index("**")
    found = []
    for folder in glob.glob(os.sep.join([*parts[:deep], ""])) if deep else [""]:
        files = image_files([folder or os.curdir])[0]
        names = [os.path.relpath(file, folder or os.curdir) for file in files]
        found += [os.path.join(folder, n) for n in names if _fits(n.split(os.sep), parts[deep:])]
    return found


def _fits(names, patterns):
    """Whether a path, or a folder that it is in, fits a pattern; both as lists of their parts."""
    if not patterns:
        return True
    if patterns[0] == "**":
        return any(_fits(names[skipped:], patterns[1:]) for skipped in range(len(names)))
    is_first = bool(names) and fnmatch.fnmatchcase(names[0], patterns[0])
    return is_first and _fits(names[1:], patterns[1:])


def _real_place(file):
    folder, name = os.path.split(file)
    return os.path.realpath(folder), name
