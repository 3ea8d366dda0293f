"""Operations done at once give what they give one by one, pixel for pixel."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_resnets.data import augment, moves, operations, parse_augment

CONTEXT = operations.Context(image_size=(9, 7), mean=(10.0, 20.0, 30.0))
CHAINS = (
    "pad_crop:padding=3,flip",
    "flip,flip",
    "flip,erase:p=0.7",
    "pad_crop:padding=2:mode=reflect,flip,translate:fraction=0.3",
    "flip:p=0.1,rotate,translate:fraction=0.2,erase:p=0.5,pad_crop:padding=4",
    "erase:p=1,flip,cutout:size=4:p=0.5,translate:fraction=0.4:p=0.5",
    "erase,resize,flip,pad_crop",
)


def one_by_one(images, rows, columns):
    """The definition of a move, in Python."""
    moved = np.zeros_like(images)
    for place, y, x in itertools.product(*map(range, images.shape[:3])):
        row, column = rows[place][y], columns[place][x]
        if 0 <= row < images.shape[1] and 0 <= column < images.shape[2]:
            moved[place, y, x] = images[place, row, column]
    return moved


def test_moves_and_paint_follow_each_other(rng):
    images = rng.integers(1, 256, (4, 5, 6, 3)).astype("uint8")
    first, second = (
        (rng.integers(-2, 8, (4, 5), "int32"), rng.integers(-2, 8, (4, 6), "int32"))
        for _ in range(2)
    )
    marks = rng.random((4, 5)) < 0.5, rng.random((4, 6)) < 0.5
    view = moves.View(tf.constant(images))
    view.move(*map(tf.constant, first))
    view.paint(*map(tf.constant, marks), (1.0, 2.0, 3.0))
    view.move(*map(tf.constant, second))
    expected = one_by_one(images, *first).astype("float32")
    expected[marks[0][:, :, None] & marks[1][:, None]] = (1, 2, 3)
    np.testing.assert_array_equal(view.pixels(), one_by_one(expected, *second))


@pytest.mark.parametrize("shape", [(11, 8, 3), (6, 9, 1)])
@pytest.mark.parametrize("chain", CHAINS)
def test_chains_are_their_operations_in_turn(chain, shape, rng):
    images = tf.constant(rng.integers(1, 256, (30, *shape)).astype("uint8"))
    context = dataclasses.replace(CONTEXT, mean=CONTEXT.mean[: shape[-1]])
    chosen = parse_augment(chain)
    numbers = augment.draw(chosen, 0, 0, len(images))
    at_once = augment.apply(chosen, images, numbers, context)
    in_turn, left = images, numbers
    for operation in chosen:
        in_turn = operation(in_turn, left[:, : operation.numbers], context)
        left = left[:, operation.numbers :]
    assert at_once.dtype == in_turn.dtype
    np.testing.assert_array_equal(at_once, in_turn)
    alone = [
        augment.apply(chosen, images[k : k + 1], numbers[k : k + 1], context)[0] for k in range(5)
    ]
    np.testing.assert_array_equal(at_once[:5], alone)


def test_sides_that_are_known_late(rng):
    images = rng.integers(1, 256, (6, 8, 5, 3)).astype("uint8")
    chosen = parse_augment("flip,pad_crop,erase")
    numbers = augment.draw(chosen, 0, 0, 6)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def late(images):
        return augment.apply(chosen, images, numbers, CONTEXT)

    np.testing.assert_array_equal(
        late(images), augment.apply(chosen, tf.constant(images), numbers, CONTEXT)
    )


def test_a_class_of_ones_own_keeps_its_call(rng):
    @dataclasses.dataclass(frozen=True)
    class Upside(operations.Flip):
        def __call__(self, images, numbers, context):
            return tf.reverse(images, [1])

    images = rng.integers(1, 256, (3, 4, 5, 3)).astype("uint8")
    chosen = parse_augment([Upside(), "flip:p=1"])
    done = augment.apply(chosen, tf.constant(images), augment.draw(chosen, 0, 0, 3), CONTEXT)
    np.testing.assert_array_equal(done, images[:, ::-1, ::-1])


def test_no_image_is_smaller_than_what_is_mirrored():
    chosen = parse_augment("pad_crop:padding=4:mode=reflect")
    with pytest.raises(ValueError, match="pad_crop.* cannot be applied to images of 4x9x3"):
        augment.check(chosen, (4, 9, 3), CONTEXT)
