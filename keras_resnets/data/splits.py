"""Which examples are for training, validation and test."""

import os
import re
from typing import NamedTuple

import numpy as np

from keras_resnets.data.digits import open_digits
from keras_resnets.data.folder import open_folder
from keras_resnets.data.listing import is_list, open_list
from keras_resnets.data.sources import Source
from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS

HELD_OUT = 0.1  # share of the training images taken for a part that the set does not have
_PIECE = re.compile(r"([\w-]+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")


class Splits(NamedTuple):
    """The parts of a set; `None` for those not asked for."""

    train: Source | None = None
    validation: Source | None = None
    test: Source | None = None


def load_splits(
    dataset,
    data_dir=None,
    train_split=None,
    validation_split=None,
    test_split=None,
    download=False,
    seed=0,
    skip_corrupt=False,
    max_pixels=MAX_PIXELS,
    splits=("train", "validation", "test"),
):
    """Opens an image set and divides it.

    Without explicit splits, the test set is the set's `test` split, or `validation` where `test`
    is missing or has no labels; the validation set is the set's `validation` split unless that is
    the test set. A part that the set does not have is held out of `train`: as many images as 10 %
    of the training images, stratified by class and keyed by `seed` (the last ones, of a set too
    large for memory), out of those that no explicit split takes, or if these are too few, out of
    `train_split`. Training gets `train_split`, or what the others leave of `train`. Only splits
    given explicitly can overlap.

    Slices follow tfds' grammar, `train[:45000]`, `train[90%:]`, `train[:10%]+test`. They count
    tfds' own order, or for folders and digits a shuffled order that never changes.

    Args:
        dataset: `"digits"`, a folder (see `folder.open_folder`), a CSV file of files and labels
            (see `listing.open_list`) or a tfds name; a name that exists as a folder, and a
            `pathlib.Path`, is that folder.
        data_dir: String or path. The tfds root. Defaults to tfds' own.
        train_split: Slice of the training images, or `None`.
        validation_split: Slice of the validation images, or `None`.
        test_split: Slice of the test images, or `None`.
        download: Boolean. Whether tfds may download and prepare a missing set. Defaults to False.
        seed: Int, keys what is held out. Defaults to 0.
        skip_corrupt: Boolean. Whether corrupt images of a folder are left out (and counted in
            `Source.num_skipped`) instead of refused. Defaults to False.
        max_pixels: Int. An image with more pixels by its header is refused (left out with
            `skip_corrupt`) before it takes the memory. Defaults to 50 million.
        splits: The parts wanted; others are not loaded. Defaults to all three.

    Returns:
        `Splits` of `Source` objects.

    Raises:
        ValueError: If the set is unknown, not prepared, not for image classification, has a
            corrupt image, or a slice is malformed or empty.
        FileNotFoundError: If the folder or CSV file does not exist.
    """
    unknown = [part for part in splits if part not in Splits._fields]
    if unknown or isinstance(splits, str):
        legal = ", ".join(Splits._fields)
        raise UserError(f"`splits` must be a tuple of {legal}. Received: splits={splits!r}")
    given = {"train": train_split, "validation": validation_split, "test": test_split}
    only_test = tuple(splits) == ("test",) and not any(given.values())
    archive = _open(dataset, data_dir, download, skip_corrupt, max_pixels, only_test)
    selections = _select(archive, given, seed, splits)
    return Splits(**archive.sources({part: selections[part] for part in splits}))


def _open(dataset, data_dir, download, skip_corrupt, max_pixels, only_test):
    if dataset == "digits":
        return open_digits()
    is_path = isinstance(dataset, os.PathLike)
    dataset = os.fspath(dataset)
    path = os.path.expanduser(dataset)
    is_path |= os.path.isabs(path) or dataset.startswith((".", "~")) or dataset.endswith(os.sep)
    if is_list(path) and not os.path.isdir(path):
        return open_list(path, skip_corrupt, max_pixels)
    if os.path.isdir(path) or is_path:
        return open_folder(path, skip_corrupt, max_pixels, only_test)
    from keras_resnets.data.tfds_archive import open_tfds  # tfds is imported only where it is used

    return open_tfds(dataset, os.fspath(data_dir) if data_dir else None, download, max_pixels)


def _select(archive, given, seed, wanted):
    """Chooses the examples of each part: {part: {split: indices}}, `None` where it has none."""
    sizes = archive.sizes
    chosen = {
        part: _parse(spec, sizes, f"{part}_split") if spec else None for part, spec in given.items()
    }
    explicit = [selection for selection in chosen.values() if selection]
    own = {split: np.arange(size) for split, size in sizes.items()}
    in_training = chosen["train"] or {}
    if not chosen["test"]:
        names = [name for name in ("test", "validation") if name in own and name not in in_training]
        chosen["test"] = {names[0]: own[names[0]]} if names else None
    if not chosen["validation"] and "validation" in own:
        taken = {*in_training, *(chosen["test"] or ())}
        chosen["validation"] = None if "validation" in taken else {"validation": own["validation"]}
    if "train" not in wanted and all(chosen[part] for part in wanted):
        return chosen
    unused = {"train": own.get("train", np.arange(0))}
    for selection in explicit:
        unused = _without(unused, selection)
    chosen["train"] = chosen["train"] or unused
    _require_training(archive, chosen, given)
    count = max(1, round(HELD_OUT * _size(chosen["train"])))
    for part in ("test", "validation"):
        if not chosen[part]:
            pool = unused if _size(unused) >= count else chosen["train"]
            chosen[part] = _hold_out(archive, pool, count, seed)
            unused = _without(unused, chosen[part])
            chosen["train"] = _without(chosen["train"], chosen[part])
    _require_training(archive, chosen, given)
    return chosen


def _require_training(archive, chosen, given):
    if not _size(chosen["train"]):
        raise UserError(
            f"{archive.name}: no image is left for training in {', '.join(archive.sizes)}. "
            "Received: " + ", ".join(f"{part}_split={spec}" for part, spec in given.items())
        )


def _parse(spec, sizes, argument):
    """`train[:80%]+test` -> {"train": indices, "test": indices}."""
    chosen = {}
    for piece in spec.replace(" ", "").split("+"):
        match = _PIECE.fullmatch(piece)
        if not match or match[1] not in sizes:
            raise UserError(
                f"`{argument}` must be slices such as train[:90%] of the labelled splits "
                f"{', '.join(sizes)}. Received: {argument}={spec}"
            )
        size = sizes[match[1]]
        start, stop = (_boundary(text, size) for text in match.group(2, 3))
        indices = np.arange(size)[start:stop]
        chosen[match[1]] = np.union1d(chosen.get(match[1], indices), indices)
    if not _size(chosen):
        raise UserError(f"`{argument}` must hold an image or more. Received: {argument}={spec}")
    return chosen


def _boundary(text, size):
    if text is None:
        return None
    return round(int(text[:-1]) * size / 100) if text.endswith("%") else int(text)


def _size(selection):
    return sum(len(indices) for indices in selection.values())


def _without(selection, other):
    return {
        split: np.setdiff1d(indices, other.get(split, ()), assume_unique=True)
        for split, indices in selection.items()
    }


def _hold_out(archive, selection, count, seed):
    """Takes `count` examples out of `selection`, spread evenly over the classes."""
    splits = np.repeat(list(selection), [len(indices) for indices in selection.values()])
    indices = np.concatenate(list(selection.values()))
    labels = {split: archive.labels(split) for split in selection}
    if any(values is None for values in labels.values()):
        held = np.arange(len(indices))[-count:]
    else:
        labels = np.concatenate([labels[split][chosen] for split, chosen in selection.items()])
        order = np.random.default_rng(seed).permutation(len(labels))
        order = order[np.argsort(labels[order], kind="stable")]  # by class, random within it
        held = np.sort(order[((np.arange(count) + 0.5) * len(order) / count).astype(int)])
    return {split: indices[held][splits[held] == split] for split in selection}
