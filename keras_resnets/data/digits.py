"""scikit-learn's 1,797 scans of handwritten digits."""

import numpy as np

from keras_resnets.data.archive import Archive
from keras_resnets.data.sources import Images


def open_digits():
    """The embedded digits: 8x8x1 uint8 in 0..255, a fixed stratified split into 80 % and 20 %.

    Returns:
        `Archive` with 1,437 training and 360 test images.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    scans = load_digits()
    labels = scans.target.astype(np.int64)
    pixels = np.round(scans.images[..., None] * (255 / 16)).astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
    )
    return Archive(
        name="digits",
        class_names=tuple(str(name) for name in scans.target_names),
        images=Images.decoded(pixels),
        all_labels=labels,
        places={"train": train, "test": test},
        describe=lambda place: f"digits image {place}",
    )
