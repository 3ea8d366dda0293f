"""RandAugment and TrivialAugment against Pillow and the tables of timm and torchvision."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_resnets import UserError
from keras_resnets.data import augment, operations, parse_augment, policies

CONTEXT = operations.Context(image_size=(23, 29), mean=(10.2, 20.0, 30.0))
FILL = (10, 20, 30)
AFFINE = Image.Transform.AFFINE
SHAPES = {
    "shear_x": ([0.3, -0.21], lambda v: (1, v, 0, 0, 1, 0)),
    "shear_y": ([0.3, -0.21], lambda v: (1, 0, 0, v, 1, 0)),
    "translate_x": ([5.3, -7], lambda v: (1, 0, v, 0, 1, 0)),
    "translate_y": ([5.3, -7], lambda v: (1, 0, 0, 0, 1, v)),
    "rotate": ([30, -117], None),
}


@pytest.fixture
def photos(rng):
    noise = rng.integers(0, 256, (6, 5, 6, 3)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((29, 23))) for image in noise])


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_those_of_pillow(name, interpolation, photos):
    values, matrix = SHAPES[name]
    kind = Image.Resampling[interpolation.upper()]
    function = policies.operation(name, CONTEXT.mean, interpolation)
    for value in values:
        made = function(tf.constant(photos), tf.fill(6, float(value))).numpy().astype(int)
        for image, result in zip(map(Image.fromarray, photos), made, strict=True):
            if matrix is None:
                expected = image.rotate(value, kind, fillcolor=FILL)
            else:
                expected = image.transform(image.size, AFFINE, matrix(value), kind, fillcolor=FILL)
            off = np.abs(result - np.asarray(expected)).max(-1)
            # The nearest of two pixels at one distance may be either.
            assert (off <= 1).all() if interpolation == "bilinear" else (off > 0).mean() < 0.01


# Printed from timm 1.0.31: LEVEL_TO_ARG at magnitudes 0, 3, 7, 10, without randomly_negate.
TIMM = {
    "rotate": [0.0, 9.0, 21.0, 30.0],
    "posterize": [0, 1, 2, 4],
    "solarize": [0, 76, 179, 256],
    "solarize_add": [0, 33, 77, 110],
    "color": [0.1, 0.64, 1.36, 1.9],
    "shear_x": [0.0, 0.09, 0.21, 0.3],
    "translate_x": [0.0, 0.135, 0.315, 0.45],
}
TIMM_INCREASING = {
    "posterize": [4, 3, 2, 0],
    "solarize": [256, 180, 77, 0],
    "color": [1.0, 1.27, 1.63, 1.9],
    "rotate": [0.0, 9.0, 21.0, 30.0],
}


def test_magnitudes_are_those_of_timm():
    magnitudes, plus = tf.constant([0.0, 3.0, 7.0, 10.0]), tf.ones(4)
    for increasing, table in ((False, TIMM), (True, TIMM_INCREASING)):
        values = policies.rand_values(magnitudes, plus, tf.constant([2.0, 1.0]), increasing)
        for name, expected in table.items():
            np.testing.assert_allclose(values[name], expected, atol=1e-5, err_msg=name)
        for name in ("contrast", "brightness", "sharpness"):
            np.testing.assert_array_equal(values[name], values["color"])
        np.testing.assert_array_equal(values["translate_y"], 2 * values["translate_x"])
        np.testing.assert_array_equal(values["shear_y"], values["shear_x"])
    minus = policies.rand_values(magnitudes, -plus, tf.ones(2), True)
    np.testing.assert_allclose(minus["color"], [1.0, 0.73, 0.37, 0.1], atol=1e-5)  # at least 0.1
    np.testing.assert_allclose(minus["rotate"], [0.0, -9.0, -21.0, -30.0], atol=1e-5)


def test_trivial_augments_space_is_that_of_torchvision():
    steps = np.arange(31)
    values = policies.trivial_values(tf.constant(steps, tf.float32), tf.ones(31))
    expected = {
        "shear_x": np.linspace(0, 0.99, 31),
        "translate_y": np.floor(np.linspace(0, 32, 31)),
        "rotate": np.linspace(0, 135, 31),
        "color": 1 + np.linspace(0, 0.99, 31),
        "posterize": 8 - np.round(steps / 5),
        "solarize": np.linspace(255, 0, 31),
    }
    for name, numbers in expected.items():
        np.testing.assert_allclose(values[name], numbers, rtol=1e-5, atol=1e-5, err_msg=name)
    assert set(values) | {"identity", "auto_contrast", "equalize"} == set(
        policies.TRIVIAL_OPERATIONS
    )


def test_rand_augment_applies_what_is_drawn(photos):
    """Each layer of each image again, one after the other, from the numbers."""
    (operation,) = parse_augment("rand_augment:magnitude=7:std=0.5:increasing=true:layers=3")
    assert operation.numbers == 12
    numbers = augment.draw((operation,), 2, 0, len(photos))
    made = operation(tf.constant(photos), numbers, CONTEXT)
    applied = set()
    for image, row, result in zip(photos, numbers.numpy(), made, strict=True):
        image = tf.constant(image)[None]
        for choice, chance, level, direction in row.reshape(3, 4):
            name = policies.RAND_OPERATIONS[int(choice * 15)]
            if chance >= 0.5:
                continue
            applied.add(name)
            magnitude = np.clip(7 + 0.5 * tf.math.ndtri(level), 0, 10)
            values = policies.rand_values(
                tf.constant([magnitude], tf.float32),
                tf.constant([1.0 if direction < 0.5 else -1.0]),
                tf.constant([23.0, 29.0]),
                True,
            )
            function = policies.operation(name, CONTEXT.mean)
            image = function(image, values.get(name, tf.zeros(1)))
        np.testing.assert_array_equal(result, image[0])
    assert len(applied) > 4


def test_trivial_augment_draws_every_operation(photos):
    (operation,) = parse_augment("trivial_augment")
    batch = np.concatenate([photos] * 30)
    numbers = augment.draw((operation,), 0, 0, len(batch))
    made = operation(tf.constant(batch), numbers, CONTEXT).numpy()
    choices = (numbers.numpy()[:, 1] * 14).astype(int)
    assert set(choices) == set(range(14))
    same = (made == batch).all((1, 2, 3))
    assert same[choices == 0].all() and same.mean() < 0.2
    none = parse_augment("trivial_augment:p=0")[0](tf.constant(batch), numbers, CONTEXT)
    np.testing.assert_array_equal(none, batch)


@pytest.mark.parametrize("description", ["rand_augment:std=0.5:layers=1", "trivial_augment"])
@pytest.mark.parametrize("channels", [1, 3])
def test_graph_and_batch_size_do_not_matter(description, channels, photos):
    chosen = parse_augment(description)
    images = tf.constant(photos[..., :channels], tf.float32) + 0.2
    context = dataclasses.replace(CONTEXT, mean=CONTEXT.mean[:channels])
    numbers = augment.draw(chosen, 5, 1, len(photos))
    whole = augment.apply(chosen, images, numbers, context).numpy().astype(float)
    apply = tf.function(lambda images, numbers: augment.apply(chosen, images, numbers, context))
    made = apply(images, numbers).numpy().astype(float)
    off = np.abs(made - whole)
    # A graph computes an angle's cosine in another order: a level may be rounded otherwise.
    assert off.max() <= 1 and (off > 0).mean() < 1e-3
    for place in range(len(photos)):
        one = slice(place, place + 1)
        off = np.abs(apply(images[one], numbers[one]).numpy().astype(float) - made[one])
        assert off.max() <= 1 and (off > 0).mean() < 1e-3


def test_timms_settings():
    expected = policies.RandAugment(magnitude=7.0, std=0.5, increasing=True)
    assert parse_augment("rand-m7-mstd0.5-inc1") == (expected,)
    assert parse_augment("rand_augment:magnitude=7:std=0.5:increasing=true") == (expected,)
    assert parse_augment(str(expected)) == (expected,)
    assert parse_augment("rand") == (policies.RandAugment(),)
    assert parse_augment("flip,rand-n3-p0.7-mmax15-m12-inc0")[1] == policies.RandAugment(
        p=0.7, magnitude=12.0, layers=3, max_magnitude=15.0
    )


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("rand-m7-tweights", "RandAugment's settings must be rand and parts m9,"),
        ("rand-inc0.5", "Received: 'rand-inc0.5'"),
        ("rand-m", "settings must be"),
        ("rand-m12", "`magnitude` of rand_augment must be in 0..max_magnitude=10.0"),
        ("rand_augment:layers=0", "`layers` of rand_augment must be 1 or more"),
        ("rand_augment:std=-1", "`std` of rand_augment must be 0 or more"),
        ("rand_augment:max_magnitude=0", "above 0"),
        ("rand_augment:increasing=perhaps", "`increasing` of rand_augment must be of type bool"),
        ("trivial_augment:interpolation=bicubic", "must be nearest or bilinear"),
        ("cutout:size=0", "`size` of cutout must be 1 pixel or more"),
    ],
)
def test_bad_values_in_one_line(description, message):
    with pytest.raises(UserError, match="^[^\n]+$") as error:
        parse_augment(description)
    assert message in str(error.value)
