"""Augmentation against independent NumPy computations."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_resnets.data import augment, operations, parse_augment

CONTEXT = operations.Context(image_size=(6, 8), mean=(10.0, 20.0, 30.0))


def images(count=64, shape=(6, 8, 3)):
    return np.random.default_rng(0).integers(1, 256, (count, *shape)).astype(np.uint8)


def run(description, batch, seed=0, epoch=0, context=CONTEXT):
    operations = parse_augment([description])
    numbers = augment.draw(operations, seed, epoch, len(batch))
    return augment.apply(operations, tf.constant(batch), numbers, context).numpy()


def which(result, candidates):
    """For each image, the keys of the candidates (arrays of the whole batch) it equals."""
    return [
        {key for key, value in candidates.items() if np.array_equal(value[i], image)}
        for i, image in enumerate(result)
    ]


def test_flip_mirrors_left_and_right_with_its_probability():
    batch = images(1000)
    matches = which(run("flip:p=0.3", batch), {"same": batch, "flipped": batch[:, :, ::-1]})
    assert all(len(match) == 1 for match in matches)
    assert 250 <= matches.count({"flipped"}) <= 350
    np.testing.assert_array_equal(run("flip:p=1", batch), batch[:, :, ::-1])
    np.testing.assert_array_equal(run("flip:p=0", batch), batch)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_pad_crop_cuts_every_window_and_nothing_else(mode):
    batch = images(600)
    padded = np.pad(batch, [(0, 0), (2, 2), (2, 2), (0, 0)], mode)
    windows = {
        (top, left): padded[:, top : top + 6, left : left + 8]
        for top, left in itertools.product(range(5), repeat=2)
    }
    matches = which(run(f"pad_crop:padding=2:mode={mode}", batch), windows)
    assert all(len(match) == 1 for match in matches)
    counts = [matches.count({window}) for window in windows]
    assert min(counts) > 5 and max(counts) < 50  # 24 expected
    np.testing.assert_array_equal(run(f"pad_crop:p=0:mode={mode}:padding=2", batch), batch)


def test_translate_shifts_by_whole_pixels_and_leaves_black():
    batch = images(300)
    padded = np.pad(batch, [(0, 0), (2, 2), (3, 3), (0, 0)])
    shifts = {
        (down, right): padded[:, 2 - down : 8 - down, 3 - right : 11 - right]
        for down, right in itertools.product(range(-2, 3), range(-2, 3))
    }
    matches = which(run("translate:fraction=0.25", batch), shifts)  # below 1.5, and 2 pixels
    assert all(len(match) == 1 for match in matches)
    assert set().union(*matches) == set(itertools.product(range(-1, 2), range(-2, 3)))


def test_rotate_turns_about_the_centre():
    batch = images(4, (5, 5, 1))
    operation = operations.Rotate(degrees=180.0)
    numbers = tf.constant([[0.0, 0.75], [0.0, 0.25], [0.0, 1.0], [0.0, 0.5]])  # +90, -90, 180, 0
    turned = operation(tf.constant(batch), numbers, CONTEXT).numpy()
    for image, result, quarters in zip(batch, turned, (1, -1, 2, 0), strict=True):
        np.testing.assert_allclose(result, np.rot90(image, quarters), atol=1e-2)
    np.testing.assert_array_equal(run("rotate:p=0", batch), batch)


def test_rotate_stays_within_its_degrees():
    line = np.zeros((200, 41, 41, 1), np.uint8)
    line[:, 20, 30] = 255  # ten pixels right of the centre
    turned = run("rotate:degrees=30", line)[..., 0]
    rows = (turned.sum(2) * np.arange(41)).sum(1) / turned.sum((1, 2)) - 20
    angles = np.degrees(np.arcsin(np.clip(rows / 10, -1, 1)))
    assert 25 < np.abs(angles).max() < 32 and angles.min() < -20 and angles.max() > 20


def test_erase_fills_one_rectangle_of_legal_size_with_the_mean():
    batch = images(400, (32, 32, 3))
    erased = run("erase:p=0.5", batch)
    changed = (erased != batch).any(-1)
    count = 0
    for mask, image in zip(changed, erased, strict=True):
        if not mask.any():
            continue
        count += 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        tall, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert (image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == CONTEXT.mean).all()
        assert mask.sum() >= 0.9 * tall * wide  # some pixels were the mean colour before
        assert 0.015 < tall * wide / 1024 < 0.36 and 0.2 < tall / wide < 5
    assert 160 <= count <= 240


def test_random_resized_crop_draws_legal_areas():
    operation = operations.RandomResizedCrop()
    numbers = augment.draw((operation,), 0, 0, 2000)
    top, left, tall, wide = operation.boxes(numbers, [60, 80]).numpy().T
    assert top.min() >= 0 and left.min() >= 0
    assert (top + tall).max() <= 60 and (left + wide).max() <= 80
    share, ratio = tall * wide / 4800, wide / tall
    assert share.min() > 0.07 and share.min() < 0.1 and share.max() > 0.9
    assert ratio.min() > 0.7 and ratio.max() < 1.42 and ratio.min() < 0.8 and ratio.max() > 1.25


@pytest.mark.parametrize(
    ("size", "box"), [((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10))]
)
def test_random_resized_crop_falls_back_to_the_centre(size, box):
    numbers = tf.ones((1, operations.RandomResizedCrop.numbers)) * 0.999  # too large ten times
    numbers = tf.concat([[[0.0]], numbers[:, 1:]], 1)
    assert tuple(operations.RandomResizedCrop().boxes(numbers, size).numpy()[0]) == box


def test_random_resized_crop_resizes_the_area():
    batch = images(3)
    operation = operations.RandomResizedCrop()
    numbers = augment.draw((operation,), 1, 0, 3)
    result = operation(tf.constant(batch), numbers, CONTEXT)
    for image, (top, left, tall, wide), got in zip(
        batch, operation.boxes(numbers, [6, 8]).numpy(), result, strict=True
    ):
        area = image[top : top + tall, left : left + wide]
        np.testing.assert_allclose(got, tf.image.resize(area, (6, 8), antialias=True), atol=1e-3)
    whole = run("random_resized_crop:p=0", batch)
    np.testing.assert_allclose(whole, batch, atol=1e-3)


def test_numbers_depend_on_seed_and_epoch_and_not_on_other_operations():
    both = parse_augment(["flip", "pad_crop", "flip"])
    numbers = augment.draw(both, 3, 5, 100).numpy()
    assert numbers.shape == (100, 5) and numbers.min() >= 0 and numbers.max() < 1
    alone = augment.draw(parse_augment(["pad_crop"]), 3, 5, 100).numpy()
    np.testing.assert_array_equal(numbers[:, 1:4], alone)
    assert not np.array_equal(numbers[:, 0], numbers[:, 4])  # each flip has its own stream
    for seed, epoch in ((4, 5), (3, 6)):
        assert not np.any(numbers == augment.draw(both, seed, epoch, 100).numpy())


def test_parse_reads_arguments_in_order():
    assert parse_augment(["pad_crop:padding=3:mode=reflect", "flip:p=0.1"]) == (
        operations.PadCrop(padding=3, mode="reflect"),
        operations.Flip(p=0.1),
    )
    assert parse_augment([]) == parse_augment("") == ()


def test_parse_takes_strings_and_operations():
    expected = (operations.PadCrop(padding=3), operations.Flip(p=0.1))
    assert parse_augment("pad_crop:padding=3, flip:p=0.1") == expected
    assert parse_augment(["pad_crop:padding=3", operations.Flip(p=0.1)]) == expected
    assert parse_augment(expected) == expected and parse_augment(expected[0]) == expected[:1]
    assert [str(operation) for operation in expected] == ["pad_crop:padding=3", "flip:p=0.1"]
    assert parse_augment([str(operation) for operation in expected]) == expected


@dataclasses.dataclass(frozen=True)
class Invert(operations.Operation):
    """An operation that the package does not know."""

    p: float = 0.5
    all_channels: "bool" = True

    def __post_init__(self):
        super().__post_init__()
        self._require("all_channels", isinstance(self.all_channels, bool), "a boolean")

    def __call__(self, images, numbers, context):
        inverted = 255 - images
        if not self.all_channels:
            inverted = tf.concat([inverted[..., :1], images[..., 1:]], -1)
        return tf.where(self._chosen(numbers)[:, None, None, None], inverted, images)


def test_an_operation_of_ones_own():
    batch = images(400)
    chosen = parse_augment(["flip:p=1", Invert()])
    result = augment.apply(
        chosen, tf.constant(batch), augment.draw(chosen, 0, 0, 400), CONTEXT
    )
    flipped = batch[:, :, ::-1]
    matches = which(result.numpy(), {"plain": flipped, "inverted": 255 - flipped})
    assert 150 < matches.count({"inverted"}) < 250 and matches.count(set()) == 0
    with pytest.raises(ValueError, match="^`p` of invert must be in 0..1. Received: p=2$"):
        Invert(p=2)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False), ("0", False)])
def test_booleans_are_read_as_such(text, value, monkeypatch):
    monkeypatch.setitem(augment.OPERATIONS, "invert", Invert)
    assert parse_augment(f"invert:all_channels={text}") == (Invert(all_channels=value),)
    with pytest.raises(ValueError, match="`all_channels` of invert must be of type bool"):
        parse_augment("invert:all_channels=perhaps")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("flop", "pad_crop, flip, rotate, translate, erase, resize, random_resized_crop"),
        ("flip:q=1", "flip takes p,"),
        ("flip:p", "of type float"),
        ("flip:p=often", "of type float"),
        ("flip:p=0.1:p=0.2", "each once"),
        ("flip:p=1.5", "`p` of flip must be in 0..1. Received: p=1.5"),
        ("flip:p=nan", "in 0..1"),
        ("pad_crop:padding=0", "1 pixel or more"),
        ("pad_crop:mode=wrap", "constant or reflect"),
        ("rotate:degrees=-1", "0..180"),
        ("translate:fraction=2", "0..1"),
        ("random_resized_crop:min_area=0", "above 0"),
        ("resize:p=0.5", "`p` of resize must be 1"),
        ("", "must name operations"),
        (3, "Received: 3"),
    ],
)
def test_bad_descriptions_name_what_is_legal(description, message):
    with pytest.raises(ValueError, match="^[^\n]+$") as error:
        parse_augment([description])
    assert message in str(error.value)


def test_cutout_fills_a_square_that_the_border_may_cut():
    batch = images(500, (12, 9, 3))
    cut = run("cutout:size=4:p=0.5", batch)
    changed = (cut != batch).any(-1)
    centres = set()
    for mask, image in zip(changed, cut, strict=True):
        if not mask.any():
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == CONTEXT.mean).all()
        assert np.ptp(rows) <= 3 and np.ptp(columns) <= 3
        centres.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert 200 <= changed.any((1, 2)).sum() <= 300
    tops = {(top, bottom) for top, bottom, _, _ in centres}
    # A centre in each row: cut off at the top by two rows, at the bottom by one.
    assert {(0, 1), (0, 2), (0, 3), (8, 11), (9, 11)} <= tops and (10, 11) not in tops


def test_areas_of_a_batch_are_those_of_each_image(rng):
    operation = operations.RandomResizedCrop(p=0.8)
    numbers = augment.draw((operation,), 0, 0, 60)
    sides = np.stack([rng.integers(1, 90, 60), rng.integers(1, 900, 60)], 1)
    at_once = operation.boxes(numbers, sides)
    for place, size in enumerate(sides):
        (alone,) = operation.boxes(numbers[place : place + 1], size)
        np.testing.assert_array_equal(at_once[place], alone)
