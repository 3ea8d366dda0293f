"""A CSV file that names images and their classes."""

import csv
import os

import numpy as np

from keras_resnets.data.archive import ORDER_SEED, SPLITS, Archive
from keras_resnets.data.files import file_stamps, read_files
from keras_resnets.data.own import number_labels
from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS, printable

COLUMNS = ("file", "label")


def open_list(path, skip_corrupt=False, max_pixels=MAX_PIXELS):
    """Opens a CSV file with the columns `file`, `label` and, if there are splits, `split`.

    Further columns are left alone. Files are paths from the folder that the CSV file is in, or
    absolute ones; labels are names of classes, which are numbered in their sorted order; a split is
    train, val (or validation) or test. Images are checked and read as those of folders are.

    Args:
        path: Path of the CSV file, UTF-8.
        skip_corrupt: Boolean. Whether corrupt images, and those with too many pixels, are left out
            and counted instead of refused. Defaults to `False`.
        max_pixels: Int. How many pixels an image may have by its header. Defaults to 50 million.

    Returns:
        `Archive`; its only split is `train` without the column `split`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has other columns or no row, a row names no file, class or split, a file
            has two classes in a split, there is one class only, or an image is corrupt or too
            large.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no list {path}")
    rows = _rows(path)
    folder = os.path.dirname(os.path.abspath(path))
    files = np.array([_place(path, row) for row in rows], object)
    splits = np.array([row["split"] for row in rows])
    labels, class_names = number_labels([row["label"] for row in rows], len(rows), None)
    if len(class_names) < 2:
        raise UserError(f"{path} must name two classes or more. Received: {class_names[0]}")
    if "train" not in splits:
        raise UserError(f"{path} must have rows of the split train. Received: none")
    images, sound = read_files(files, skip_corrupt, max_pixels, path)
    files, labels, splits = files[sound], labels[sound], splits[sound]
    shuffle = np.random.default_rng(ORDER_SEED).permutation
    return Archive(
        name=printable(os.path.abspath(path)),
        class_names=class_names,
        images=images,
        all_labels=labels,
        places={split: shuffle(np.flatnonzero(splits == split)) for split in dict.fromkeys(splits)},
        describe=lambda place: printable(files[place]),
        num_skipped=int(np.sum(~sound)),
        stamps=file_stamps(files, folder),
    )


def is_list(dataset):
    """Whether a data set's name is that of a CSV file, by its extension in any case."""
    return str(dataset).lower().endswith(".csv")


def _rows(path):
    """Dictionaries of file, label and split; every row is checked."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            lines = {}
            for row in reader:
                lines[reader.line_num] = row
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} must be CSV in UTF-8: {error}") from None
    if not set(COLUMNS) <= set(columns) or not lines:
        raise UserError(
            f"{path} must have the columns file, label and perhaps split, and a row or more. "
            f"Received: {len(lines)} rows of {', '.join(columns) or 'nothing'}"
        )
    for number, row in lines.items():
        row["split"] = SPLITS.get((row["split"] or "").strip() if "split" in columns else "train")
        if not (row["file"] and row["label"] and row["split"]):
            raise UserError(
                f"{path}, line {number} must name a file, a label, and a split of "
                f"{', '.join(SPLITS)}"
            )
        place = _place(path, row)
        if not os.path.isfile(place):
            raise UserError(f"{path}, line {number}: there is no file {printable(place)}")
    _check_labels(path, lines)
    return list(lines.values())


def _place(path, row):
    """Where the image of a row is."""
    return os.path.join(os.path.dirname(os.path.abspath(path)), row["file"])


def _check_labels(path, lines):
    """Refuses a file that has two labels in a split."""
    seen = {}
    for number, row in lines.items():
        key = os.path.normpath(_place(path, row)), row["split"]
        first, label = seen.setdefault(key, (number, row["label"]))
        if label != row["label"]:
            raise UserError(
                f"{path} must give a file one label in a split. Received: {printable(row['file'])} "
                f"of {label!r} in line {first} and of {row['label']!r} in line {number}"
            )
