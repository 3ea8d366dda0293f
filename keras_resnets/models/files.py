"""Models as files."""

import os
import zipfile

import keras


def load_model(path):
    """Loads a `.keras` file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be loaded.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no model {path}")
    try:
        return keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"Cannot load {path}: {error}".splitlines()[0]) from error
