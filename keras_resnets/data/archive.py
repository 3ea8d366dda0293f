"""A labelled image set with its named splits."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from keras_resnets.data.sources import Images, Source

# Splits by what folders and lists may call them.
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
ORDER_SEED = 0  # of the order that slices of folders and lists count; it must never change


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Archive:
    """An image set with its named splits, from which parts are taken.

    Args:
        name: Name of the set.
        class_names: Tuple of strings, by label.
        images: `Images`, all of them.
        all_labels: int64 array, the label of each image.
        places: Dictionary from a split's name to the int64 places of its images, in their fixed
            order: what a slice `train[:100]` counts.
        describe: Function from a place to what a report calls this image.
        num_skipped: Number of corrupt images left out.
        stamps: As those of `Source`.
    """

    name: str
    class_names: tuple
    images: Images
    all_labels: np.ndarray
    places: dict
    describe: Callable
    num_skipped: int = 0
    stamps: Sequence[bytes] | None = None

    @property
    def sizes(self):
        """Dictionary from a split's name to its number of images."""
        return {split: len(places) for split, places in self.places.items()}

    def labels(self, split):
        """int64 labels of a split in its order."""
        return self.all_labels[self.places[split]]

    def sources(self, selections):
        """Turns each selection (dictionary from split to indices) into a `Source`."""
        chosen = {
            part: np.concatenate([self.places[split][idx] for split, idx in selection.items()])
            for part, selection in selections.items()
        }
        archive = self
        if self.images.is_small:
            # Evaluating a test set decodes no image for training.
            wanted = np.unique(np.concatenate(list(chosen.values())))
            archive = self._only(wanted)
            chosen = {part: np.searchsorted(wanted, places) for part, places in chosen.items()}
        return {part: archive._source(places) for part, places in chosen.items()}

    def _only(self, wanted):
        """The images at some places, in memory; without splits."""
        return dataclasses.replace(
            self,
            images=self.images.in_memory(wanted),
            all_labels=self.all_labels[wanted],
            places={},
            describe=lambda place: self.describe(wanted[place]),
            stamps=self.stamps and [self.stamps[place] for place in wanted],
        )

    def _source(self, places):
        return Source(
            name=self.name,
            class_names=self.class_names,
            images=self.images,
            indices=places,
            labels=self.all_labels[places],
            describe=self.describe,
            num_skipped=self.num_skipped,
            stamps=self.stamps,
        )
