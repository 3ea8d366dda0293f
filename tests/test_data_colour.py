"""Colour operations against Pillow, colorsys and NumPy."""

import colorsys
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from keras_resnets import UserError
from keras_resnets.data import augment, colour, operations, parse_augment, policies

CONTEXT = operations.Context(image_size=(6, 8), mean=(10.0, 20.0, 30.0))


@pytest.fixture
def photos(rng):
    """Images with smooth places, one of low contrast, one of a single colour."""
    noise = rng.integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)
    images = [np.asarray(Image.fromarray(image).resize((29, 23))) for image in noise]
    return np.stack([images[0], images[1] // 3 + 40, images[2], np.full_like(images[3], 77)])


def pillow(function, images):
    """What a function of Pillow's images makes of each, in their number of channels."""
    channels = images.shape[-1]
    made = [
        np.asarray(function(Image.fromarray(image[..., 0] if channels == 1 else image)))
        for image in images
    ]
    return np.stack(made).reshape(images.shape).astype(int)


CASES = {
    "auto_contrast": ([0], lambda image, _: ImageOps.autocontrast(image)),
    "equalize": ([0], lambda image, _: ImageOps.equalize(image)),
    "invert": ([0], lambda image, _: ImageOps.invert(image)),
    "posterize": ([1, 4, 8], ImageOps.posterize),
    "solarize": ([0, 100, 256], ImageOps.solarize),
    "solarize_add": (
        [0, 77],
        lambda image, add: image.point(
            [min(255, level + add) if level < 128 else level for level in range(256)]
            * len(image.getbands())
        ),
    ),
    "color": ([0.1, 0.5, 1.9], lambda image, value: ImageEnhance.Color(image).enhance(value)),
    "contrast": ([0.1, 1.9], lambda image, value: ImageEnhance.Contrast(image).enhance(value)),
    "brightness": ([0.1, 1.9], lambda image, value: ImageEnhance.Brightness(image).enhance(value)),
    "sharpness": ([0.1, 1.9], lambda image, value: ImageEnhance.Sharpness(image).enhance(value)),
}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("name", CASES)
def test_levels_are_those_of_pillow(name, channels, photos):
    values, function = CASES[name]
    images = photos[..., :channels]
    for value in values:
        made = policies.operation(name)(tf.constant(images), tf.fill(4, float(value)))
        assert made.dtype == tf.uint8
        expected = pillow(lambda image, value=value: function(image, value), images)
        assert np.abs(made.numpy() - expected).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (5, 2)])
def test_sharpness_leaves_images_without_an_inside(shape, rng):
    images = rng.integers(0, 256, (2, *shape, 3)).astype(np.uint8)
    np.testing.assert_array_equal(colour.sharpness(images, tf.constant([0.0, 2.0])), images)


def test_hue_turns_as_colorsys(rng):
    images = rng.integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    shifts = [0.3, -0.5, 0.0]
    made = colour.hue(images, tf.constant(shifts)).numpy()
    for image, shift, result in zip(images, shifts, made, strict=True):
        for pixel, found in zip(image.reshape(-1, 3), result.reshape(-1, 3), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
            expected = colorsys.hsv_to_rgb((h + shift) % 1, s, v)
            np.testing.assert_allclose(found, 255 * np.array(expected), atol=0.01)


def _jittered(image, order, factors):
    """torchvision's formulas on one float image, in NumPy."""
    image = image.astype(float)
    for step in order:
        if step == 3:
            continue
        luma = image @ [0.299, 0.587, 0.114]
        other = (0.0, luma.mean(), luma[..., None])[step]
        image = np.clip(other + factors[step] * (image - other), 0, 255)
    return image


def test_color_jitter_is_that_of_torchvision(photos):
    (operation,) = parse_augment("color_jitter:brightness=0.6:contrast=0.5:saturation=0.9")
    numbers = augment.draw((operation,), 1, 0, 4)
    made = operation(tf.constant(photos), numbers, CONTEXT).numpy()
    drawn = numbers.numpy()
    for image, row, result in zip(photos, drawn, made, strict=True):
        order = list(itertools.permutations(range(4)))[int(row[1] * 24)]
        factors = [1 - e + 2 * e * u for e, u in zip((0.6, 0.5, 0.9), row[2:5], strict=True)]
        assert np.abs(result - _jittered(image, order, factors)).max() < 1.5  # rounded greys
    assert len({int(row[1] * 24) for row in drawn}) > 2  # several orders
    plain = parse_augment("color_jitter:p=0")[0](tf.constant(photos), numbers, CONTEXT)
    np.testing.assert_array_equal(plain, photos)


def test_color_jitter_turns_hues_and_knows_grey_images(photos):
    (operation,) = parse_augment("color_jitter:brightness=0:contrast=0:saturation=0:hue=0.5")
    numbers = augment.draw((operation,), 1, 0, 4)
    made = operation(tf.constant(photos), numbers, CONTEXT)
    expected = colour.hue(photos, numbers[:, 5] - 0.5)
    np.testing.assert_allclose(made, expected, atol=0.01)
    grey = photos[..., :1]
    np.testing.assert_allclose(operation(tf.constant(grey), numbers, CONTEXT), grey, atol=0.01)


def test_lighting_adds_principal_components(photos):
    (operation,) = parse_augment("lighting:std=0.2:p=0.4")
    numbers = augment.draw((operation,), 0, 0, 4)
    made = operation(tf.constant(photos), numbers, CONTEXT).numpy()
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140],
                        [-0.5836, -0.6948, 0.4203]])
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=2e-3)  # columns, orthonormal
    chosen = 0
    for image, row, result in zip(photos, numbers.numpy(), made, strict=True):
        alpha = 0.2 * colour.normal(tf.constant(row[1:])).numpy()
        shift = vectors @ (alpha * [0.2175, 0.0188, 0.0045]) * 255
        chosen += row[0] < 0.4
        np.testing.assert_allclose(result, image + (row[0] < 0.4) * shift, atol=1e-2)
    assert 0 < chosen < 4
    draws = colour.normal(augment.draw((operation,), 0, 0, 20_000)[:, 1:]).numpy()
    assert np.abs(draws.mean(0)).max() < 0.03 and np.abs(draws.std(0) - 1).max() < 0.03
    assert np.isfinite(colour.normal(tf.constant([0.0, 1 - 2**-24])).numpy()).all()
    with pytest.raises(UserError, match="^`augment`: lighting cannot .* it needs RGB images$"):
        augment.check(parse_augment("lighting"), (6, 8, 1), CONTEXT)


def test_grayscale_keeps_the_channels(photos):
    made = parse_augment("grayscale:p=1")[0](tf.constant(photos), tf.zeros((4, 1)), CONTEXT)
    expected = pillow(lambda image: image.convert("L").convert("RGB"), photos)
    assert np.abs(made - expected).max() <= 1
    same = parse_augment("grayscale:p=0")[0](tf.constant(photos), tf.zeros((4, 1)), CONTEXT)
    np.testing.assert_array_equal(same, photos)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("color_jitter:hue=0.6", "`hue` of color_jitter must be in 0..0.5. Received: hue=0.6"),
        ("color_jitter:contrast=-1", "`contrast` of color_jitter must be 0 or more"),
        ("color_jitter:brightness=inf", "0 or more"),
        ("lighting:std=-0.1", "`std` of lighting must be 0 or more"),
        ("grayscale:p=2", "in 0..1"),
    ],
)
def test_bad_values_in_one_line(description, message):
    with pytest.raises(UserError, match="^[^\n]+$") as error:
        parse_augment(description)
    assert message in str(error.value)
