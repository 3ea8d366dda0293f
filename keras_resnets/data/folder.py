"""Folders of class folders."""

import os

import numpy as np

from keras_resnets.data.archive import ORDER_SEED, SPLITS, Archive
from keras_resnets.data.files import file_stamps, read_files
from keras_resnets.errors import UserError
from keras_resnets.images import FORMATS, MAX_PIXELS, image_files, printable, subfolders


def open_folder(path, skip_corrupt=False, max_pixels=MAX_PIXELS, only_test=False):
    """Opens `path/<class>/**/image`, or the same below `train/`, `val/` (`validation/`), `test/`.

    Images are JPEG, PNG, GIF, BMP and WebP files by content, whatever their suffix; they become RGB
    (see `images.decode_image`; an EXIF rotation is not applied). Hidden files and folders are left
    alone, and so are other files unless their suffix says that they are images. Links to folders
    are followed, each real folder once (see `images.image_files`). Every image is decoded once
    here, which finds corrupt ones before the training starts and gives the pixels' mean; files that
    were decoded before and did not change since are not (see `remembered.Remembered`). Images of
    one shape that take up to 1 GiB stay decoded in memory; others are read from disk again. A
    `test/` without class folders has no labels and is left out.

    Args:
        path: The folder.
        skip_corrupt: Boolean. Whether corrupt images, and those with too many pixels, are left out
            and counted instead of refused.
        max_pixels: Int. How many pixels an image may have by its header. Defaults to 50 million.
        only_test: Boolean. Whether to look at the images of `test/` alone, if there is one.
            Defaults to `False`.

    Returns:
        `Archive`; its only split is `train` where the class folders are not below `train/`.

    Raises:
        FileNotFoundError: If `path` is not a folder.
        ValueError: If there are fewer than two classes, a class without images, classes that
            differ between the splits, a corrupt or too large image, or one folder for two classes.
        OSError: If a folder cannot be read.
    """
    if not os.path.isdir(path):
        raise FileNotFoundError(f"There is no folder {path}")
    path = os.path.abspath(path)
    roots = _split_roots(path)
    class_names = _class_names(roots)
    if only_test and "test" in roots:
        roots = {"test": roots["test"]}
    places = [(split, label) for split in roots for label in range(len(class_names))]
    folders = [os.path.join(roots[split], class_names[label]) for split, label in places]
    files, labels, splits = [], [], []
    for (split, label), found in zip(places, image_files(folders), strict=True):
        files += found
        labels += [label] * len(found)
        splits += [split] * len(found)
    files, labels, splits = np.array(files, object), np.array(labels, np.int64), np.array(splits)
    _require_images(roots, class_names, labels, splits)
    images, sound = read_files(files, skip_corrupt, max_pixels, path)
    files, labels, splits = files[sound], labels[sound], splits[sound]
    _require_images(roots, class_names, labels, splits)
    shuffle = np.random.default_rng(ORDER_SEED).permutation
    return Archive(
        name=printable(path),
        class_names=tuple(map(printable, class_names)),
        images=images,
        all_labels=labels,
        places={split: shuffle(np.flatnonzero(splits == split)) for split in roots},
        describe=lambda place: printable(files[place]),
        num_skipped=int(np.sum(~sound)),
        stamps=file_stamps(files, path),
    )


def _split_roots(path):
    """{split: folder whose subfolders are the classes}."""
    names = subfolders(path)
    if "train" not in names:
        return {"train": path}
    if set(names) - SPLITS.keys() and len(subfolders(os.path.join(path, "train"))) < 2:
        return {"train": path}  # a class of vehicles may be called train
    roots = {}
    for name in names:
        split, root = SPLITS.get(name), os.path.join(path, name)
        if split is None or (split == "test" and not subfolders(root)):
            continue
        if split in roots:
            raise UserError(f"{path} must have one of val/ and validation/, not both")
        roots[split] = root
    return {split: roots[split] for split in ("train", "validation", "test") if split in roots}


def _class_names(roots):
    class_names = subfolders(roots["train"])
    if len(class_names) < 2:
        raise UserError(
            f"{roots['train']} must hold two class folders or more. "
            f"Received: {', '.join(class_names) or 'none'}"
        )
    for root in roots.values():
        different = sorted(set(class_names) ^ set(subfolders(root)))
        if different:
            raise UserError(
                f"The class folders of {root} must be those of {roots['train']}. "
                f"Only in one of them: {', '.join(different)}"
            )
    return tuple(class_names)


def _require_images(roots, class_names, labels, splits):
    for split, root in roots.items():
        counts = np.bincount(labels[splits == split], minlength=len(class_names))
        if not counts.all():
            empty = class_names[int(np.argmin(counts))]
            raise UserError(
                f"The class folder {os.path.join(root, empty)} holds no image ({FORMATS})"
            )
