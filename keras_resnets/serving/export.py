"""A network as a SavedModel that takes image files or pixels and answers with class names."""

import json
import os

import keras
import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS
from keras_resnets.models.interface import fixed_size_preprocessing
from keras_resnets.serving.prediction import METADATA
from keras_resnets.serving.signatures import class_names_of, signatures_of
from keras_resnets.serving.versions import new_version


def export(model, name, root="saved_models", top=5, max_pixels=MAX_PIXELS):
    """Writes `<root>/<name>/<version>/`, a SavedModel under the next free version.

    Signatures, which need TensorFlow alone, with one image or more a request:

    - `serving_default` takes `image_bytes`, strings `(batch,)`: whole JPEG, PNG, GIF, BMP or WebP
      files, decoded as in training.
    - `predict_images` takes `image`, uint8 `(batch, height, width, channels)` of any height and
      width.

    Both return `probabilities` `(batch, num_classes)` and, of the `top` best classes, `classes`
    (names) and `scores` (their probabilities), both `(batch, top)`. The model's evaluation
    preprocessing is inside, and everything is computed in float32, whatever the precision that
    the model was trained in. `assets.extra/metadata.json` tells people the same.

    The version appears under its name only when it is whole, so that a server polling the folder
    never loads half of one; exporters at the same time take different versions.

    Args:
        model: A `Network`, or any float32 `keras.Model` from images to logits or probabilities
            `(batch, num_classes)`, with its `preprocessing` set. The probabilities of a softmax
            add up to 1, those of a sigmoid (classes that do not exclude each other) need not.
            Without `class_names` the classes are called `"0"`, `"1"`, ...
        name: String. The name to serve the model by, one folder below `root`.
        root: String or path. Defaults to `"saved_models"`.
        top: Int. How many of the best classes to name, at most all. Defaults to 5.
        max_pixels: Int. An image file whose header says more is refused before it is decoded: a
            request of a megabyte could take gigabytes. Defaults to 50 million.

    Returns:
        String, the path of the version's folder.

    Raises:
        ValueError: If the model has no classifier, no preprocessing, or an activation other than
            softmax and sigmoid, or an argument is not legal.
        OSError: If the folder cannot be written. Nothing is left behind.
    """
    if top < 1:
        raise UserError(f"`top` must be at least 1. Received: top={top}")
    if max_pixels < 1:
        raise UserError(f"`max_pixels` must be at least 1. Received: max_pixels={max_pixels}")
    functions = signatures_of(model, top, max_pixels)
    signatures = {key: function.get_concrete_function() for key, function in functions.items()}
    module = tf.Module()
    module.variables_used = signatures["serving_default"].variables
    with new_version(root, name) as part:
        try:
            tf.saved_model.save(module, part.path, signatures)
            _write_metadata(model, max_pixels, os.path.join(part.path, METADATA))
        except tf.errors.OpError as error:  # a full disk, for one
            raise OSError(f"Cannot write {os.path.join(root, name)}: {error.message}") from error
    return part.version


def _write_metadata(model, max_pixels, path):
    """Notes for people. TensorFlow Serving leaves a folder of this name alone."""
    metadata = {
        "model": getattr(model, "registry_name", model.name),
        "options": getattr(model, "options", {}),
        "preprocessing": fixed_size_preprocessing(model).get_config(),
        "class_names": class_names_of(model),
        "max_pixels": max_pixels,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    os.mkdir(os.path.dirname(path))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(metadata, file, indent=2, ensure_ascii=False)
