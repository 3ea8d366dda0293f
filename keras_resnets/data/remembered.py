"""What was found out about the image files of a folder, kept for the next time."""

import contextlib
import hashlib
import os
import pathlib
import zipfile

import numpy as np

VERSION = 2  # of the decoder and of what is kept
CHANNELS = 3
_FACTS = ("shapes", "sums", "digests")  # what is kept of each file


def cache_folder():
    """Where it is kept: `$XDG_CACHE_HOME/keras_resnets`, below `~/.cache` if that is not set."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(root) / "keras_resnets"


class Remembered:
    """Facts of files that could be decoded, by their paths, sizes and times of change.

    Whoever removes the cache folder loses nothing but time; where it cannot be written, every file
    is looked at each time.

    Args:
        files: Array of paths, all of them that are asked about.
        folder: String, what they are of: one cache file each.
    """

    def __init__(self, files, folder):
        self._files = [os.fsencode(file) for file in files]
        key = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()[:16]
        self._path = cache_folder() / f"files_{key}.npz"
        self._stats = np.array([_stat(file) for file in self._files], np.int64).reshape(-1, 2)
        self.shapes = np.zeros((len(files), 2), np.int64)
        self.sums = np.zeros((len(files), 1 + 2 * CHANNELS), np.int64)
        self.digests = np.zeros(len(files), np.int64)
        self.known = np.zeros(len(files), bool)
        self._recall()

    def _recall(self):
        try:
            with np.load(self._path) as kept:
                if int(kept["version"]) != VERSION:
                    return
                names = bytes(kept["names"]).split(b"\0")
                places = {name: place for place, name in enumerate(names)}
                found = np.array([places.get(file, -1) for file in self._files], np.int64)
                self.known = (found >= 0) & (kept["stats"][found] == self._stats).all(1)
                for name in _FACTS:
                    getattr(self, name)[self.known] = kept[name][found[self.known]]
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
            self.known[:] = False

    def learn(self, place, shape, sums, digest):
        """Keeps what decoding the file at a place gave.

        Args:
            place: Int, in `files`.
            shape: `(height, width)`.
            sums: int64 array: pixels, and the sum and the sum of squares of each channel.
            digest: Int, what `images.digest` gives of its bytes.
        """
        self.shapes[place], self.sums[place], self.digests[place] = shape, sums, digest
        self.known[place] = True

    def save(self):
        """Writes the cache file, in one step; other files of the same folder are forgotten."""
        kept = np.flatnonzero(self.known)
        temporary = self._path.with_name(f"{self._path.stem}.{os.getpid()}.tmp.npz")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            names = b"\0".join(self._files[place] for place in kept)
            np.savez(
                temporary,
                version=VERSION,
                names=np.frombuffer(names, np.uint8),
                stats=self._stats[kept],
                **{name: getattr(self, name)[kept] for name in _FACTS},
            )
            os.replace(temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _stat(file):
    """Size and time of change; -1 for a file that is not there."""
    try:
        found = os.stat(file)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns
