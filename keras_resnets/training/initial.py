"""The network of a run before its first step, and what its images go through."""

import dataclasses

from keras_resnets import data
from keras_resnets.checks import must
from keras_resnets.data.pipeline import plan_augmentation
from keras_resnets.models import Preprocessing, create_model
from keras_resnets.models.builders import check_options
from keras_resnets.models.freezing import freeze
from keras_resnets.models.stems import STEMS
from keras_resnets.training.recipe_values import parse_sizes

DEFAULT_SIZE = STEMS["imagenet"].default_shape[:2]
# The share of an image's shorter side that the central crop keeps: 224 of 256.
CROP_SHARE = 0.875


def check_network(recipe):
    """Raises UserError for a model that there is not, or options that it does not have."""
    check_options(recipe.model, recipe.model_options())


def check_augmentation(recipe, source, preprocessing, size):
    """Raises UserError for operations that cannot be applied to the images of a run.

    Args:
        recipe: `Recipe`.
        source: `data.Source` of the training images.
        preprocessing: `Preprocessing` of the network.
        size: `(height, width)` of the input.
    """
    operations = data.parse_augment(recipe.augment)
    for _, own in training_sizes(recipe, size):
        plan_augmentation(operations, source, preprocessing, own)


def open_splits(recipe, parts=data.Splits._fields):
    """Opens the image set of a recipe.

    Args:
        recipe: `Recipe`.
        parts: Names of the parts wanted. Defaults to all three.

    Returns:
        `data.Splits`.

    Raises:
        UserError or OSError: As `data.load_splits` does.
    """
    return data.load_splits(
        recipe.dataset,
        data_dir=recipe.data_dir or None,
        train_split=recipe.train_split or None,
        validation_split=recipe.validation_split or None,
        test_split=recipe.test_split or None,
        download=recipe.download,
        seed=recipe.seed,
        skip_corrupt=recipe.skip_corrupt,
        max_pixels=recipe.max_pixels,
        splits=parts,
    )


def full_epoch(recipe, source):
    """Int, the steps in which every training image is seen once, the last partial batch left out.

    Raises:
        UserError: If there is no full batch.
    """
    images, size = source.num_examples, recipe.batch_size
    must("batch_size", size, size <= images, f"at most the {images} training images")
    return images // size


def input_size(source, image_size):
    """`(height, width)` of the network's input: as asked for, as the images', or 224."""
    if image_size:
        return (image_size, image_size)
    return source.image_shape[:2] if source.image_shape else DEFAULT_SIZE


def training_sizes(recipe, size):
    """The sizes of the images that a recipe trains on, for an input of `size`.

    Random areas make things look larger than central crops do: a network trained at 176 pixels is
    at its best at 224 (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").

    Returns:
        List of pairs (first epoch from 0, `(height, width)`), at least one.
    """
    sizes = parse_sizes(recipe.train_image_size)
    return [(epoch, (side, side)) for epoch, side in sizes] or [(0, tuple(size))]


def _is_free(recipe, size):
    """Whether a network must take any size, as it is trained on another one than it is for."""
    return any(own != tuple(size) for _, own in training_sizes(recipe, size))


def make_preprocessing(source, image_size=0):
    """The evaluation preprocessing for a training set.

    Images of one shape are resized to the input's; others so that the central crop keeps 224 of
    256 pixels of the shorter side.

    Args:
        source: `data.Source` of the training images.
        image_size: Int, side of the square input. 0 takes the images' own size, or 224.
    """
    mean, std = data.statistics(source)
    size, shape = input_size(source, image_size), source.image_shape
    if shape and shape[:2] == size:
        return Preprocessing(mean, std)
    if shape:
        return Preprocessing(mean, std, resize=size)
    return Preprocessing(mean, std, resize=round(min(size) / CROP_SHARE), crop=size)


def make_network(recipe, source, preprocessing, size, config=None):
    """The network of a recipe, with the classes of a training set.

    Weights to start from bring the options that their network has, and the mean, deviation and
    interpolation of their preprocessing.

    Args:
        recipe: `Recipe`.
        source: `data.Source` of the training images.
        preprocessing: `Preprocessing` for that set; unused with `config`.
        size: `(height, width)` of the input. The network takes any size if it is trained on images
            of another one.
        config: Dictionary, the config of the network of a run that goes on, or `None`. Defaults to
            `None`.

    Returns:
        `Network` with preprocessing and class names, frozen as the recipe says.
    """
    if config and recipe.init:  # which decided some options, and may be gone
        model = create_model(config["registry_name"], **config["options"])
    else:
        sides = (None, None) if _is_free(recipe, size) else size
        model = create_model(
            recipe.model,
            num_classes=len(source.class_names),
            input_shape=(*sides, source.channels),
            weights=recipe.init or None,
            **recipe.model_options(),
        )
    theirs = model.preprocessing
    if not config and _is_free(recipe, size) and not preprocessing.resize:
        preprocessing = dataclasses.replace(preprocessing, resize=tuple(size))
    if config:
        preprocessing = Preprocessing(**config["preprocessing"])
    elif theirs:
        preprocessing = dataclasses.replace(
            preprocessing,
            mean=theirs.mean,
            std=theirs.std,
            interpolation=theirs.interpolation,
        )
    model.preprocessing = preprocessing
    model.class_names = source.class_names
    freeze(model, recipe.freeze)
    return model
