"""The sheet of an augmentation: the draws of training, and its mistakes."""

import numpy as np
import pytest
import tensorflow as tf

from keras_resnets import Preprocessing, UserError, data
from keras_resnets.analysis import augmentation_sheet, augmented
from keras_resnets.data import augment as augmentation

CHAIN = "pad_crop:padding=2,flip,rotate,erase:p=0.5"
# Not after rotate: equalizing may make much of a level that a graph rounds otherwise.
NEWER = "rand-m7-n1-inc1,color_jitter,grayscale,cutout:size=3,grid_mask"


def trained_on(source, epoch, **arguments):
    """The images that training sees in an epoch, in the order of the source."""
    preprocessing = Preprocessing((0.5,), (0.25,))
    dataset = data.training_dataset(
        source, preprocessing, batch_size=1, seed=5, first_epoch=epoch, **arguments
    )
    made = np.concatenate([batch for batch, _ in dataset])
    order = [int(row) for row, _ in source.shuffled(5, tf.constant(epoch, tf.int64))]
    back = np.empty_like(made)
    back[order] = made
    return np.clip(np.round((back * 0.25 + 0.5) * 255), 0, 255)


@pytest.mark.parametrize("chain", [CHAIN, NEWER], ids=["older", "newer"])
def test_draws_are_those_of_training(chain):
    source = data.load_splits("digits", splits=("test",)).test[:30]
    images = [np.asarray(image) for image, _ in source]
    found = augmented(images, chain, draws=2, seed=5, mean=(127.5,))
    assert found.shape == (len(images), 2, *images[0].shape) and found.dtype == np.uint8
    for epoch in (0, 1):
        expected = trained_on(source, epoch, augment=chain)
        assert np.abs(expected - found[:, epoch]).max() <= 1  # rounded
    assert (found[:, 0] != found[:, 1]).any()
    # of the first images alone they are the same
    np.testing.assert_array_equal(
        augmented(images[:3], chain, draws=2, seed=5, mean=(127.5,)), found[:3]
    )


def test_sizes(rng):
    images = [rng.integers(0, 256, shape).astype("uint8") for shape in ((8, 12, 3), (10, 6, 3))]
    assert augmented(images, "random_resized_crop,flip", (5, 4), draws=3).shape == (2, 3, 5, 4, 3)
    assert augmented(images, "", (6, 6), draws=1).shape == (2, 1, 6, 6, 3)
    whole = augmented(images[:1], "", draws=1)
    np.testing.assert_array_equal(whole[0, 0], images[0])
    stretched, covered = (
        augmented(images[:1], "", (8, 8), 1, exact=exact) for exact in (True, False)
    )
    np.testing.assert_array_equal(covered[0, 0], images[0][:, 2:10])
    assert (stretched != covered).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(augment="pad_crip"), "`augment` must name"),
        (dict(augment="pad_crop:padding=20:mode=reflect"), "cannot be applied"),
        (dict(images=[]), "`images` must hold"),
        (dict(images=[np.zeros((4, 4, 3))]), "`images` must be uint8"),
        (dict(images=[np.zeros((4, 4, c), "uint8") for c in (1, 3)]), "one number of channels"),
        (dict(images=[np.zeros((4, s, 3), "uint8") for s in (4, 5)]), "differ in size"),
        (dict(image_size=4), "`image_size`"),
        (dict(draws=0), "`draws`"),
    ],
)
def test_mistakes(change, words, tmp_path):
    arguments = dict(images=[np.zeros((8, 8, 3), "uint8")], augment="flip") | change
    with pytest.raises(UserError, match=words) as caught:
        augmentation_sheet(path=tmp_path / "sheet.png", **arguments)
    assert "\n" not in str(caught.value)


def test_sheet(tmp_path, rng, monkeypatch):
    from matplotlib.figure import Figure

    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda figure, text, **_: titles.append(text))
    images = rng.integers(0, 256, (3, 8, 8, 3)).astype("uint8")
    chain = augmentation.parse_augment("pad_crop:padding=2:mode=reflect,flip:p=0.3,erase")
    augmentation_sheet(images, chain, tmp_path / "sheet.png", draws=2)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert titles[0].replace("\n", " ") == "pad_crop:padding=2:mode=reflect, flip:p=0.3, erase"
