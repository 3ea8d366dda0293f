"""A network as a SavedModel that takes image files or pixels and answers with class names."""

import os
import tempfile

import tensorflow as tf

from keras_resnets.checks import is_count, must
from keras_resnets.images import MAX_PIXELS
from keras_resnets.serving.arguments import check_arguments
from keras_resnets.serving.difference import check_pixels, form_difference
from keras_resnets.serving.formats import add_metadata
from keras_resnets.serving.metadata import class_names_of, write_class_names, write_metadata
from keras_resnets.serving.pixels import PixelNetwork
from keras_resnets.serving.server_files import remove_old_versions
from keras_resnets.serving.signatures import signatures_of
from keras_resnets.serving.versions import new_version
from keras_resnets.serving.warmup import check_batch_sizes, check_records, write_warmup

CLASS_NAMES = "class_names.txt"


def export(
    model,
    name,
    root="saved_models",
    top=5,
    max_pixels=MAX_PIXELS,
    precision="float32",
    checkpoint=None,
    warmup_batch_sizes=None,
    keep=None,
    images=None,
):
    """Writes `<root>/<name>/<version>/`, a SavedModel under the next free version.

    Signatures, which need TensorFlow alone, with any number of images a request:

    - `serving_default` takes `image_bytes`, strings `(batch,)`: whole JPEG, PNG, GIF, BMP or WebP
      files, decoded as in training.
    - `predict_images` takes `image`, uint8 `(batch, height, width, channels)` of any height and
      width.
    - `features` takes `image_bytes` too. A model that does not end in a dense layer has none.

    The first two return `probabilities` `(batch, num_classes)` and, of the `top` best classes,
    `classes` (names) and `scores` (their probabilities), both `(batch, top)`; the third `features`
    `(batch, n)`, what the classifier reads: the pooled last map. Where the input is files there is
    `valid`, booleans `(batch,)`: a file that is no whole image, or too large, does not fail the
    others of its batch, but its row is not valid, its numbers are NaN and its names empty.

    The model's evaluation preprocessing is inside, and the network is in its `InferenceForm`.
    `assets.extra/metadata.json` tells people the same and more,
    `assets/class_names.txt` names the classes, one a line, and TensorFlow Serving warms up with
    `assets.extra/tf_serving_warmup_requests`.

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
        precision: `"float32"`, whatever the precision that the model was trained in, or
            `"bfloat16"` for maps and kernels of 16 bits: up to twice as fast on a CPU that has
            avx512_bf16 or AMX, and slower on one that has neither. Answers are float32 in both.
            Defaults to `"float32"`.
        checkpoint: String or path. The `.keras` file that the model was loaded from, whose run's
            test scores and commit go into the metadata. Defaults to none.
        warmup_batch_sizes: Sequence of ints. Images of the requests that TensorFlow Serving warms
            each signature up with; none if empty. Defaults to `(1, 2, 4, 8)`, or to none where
            tensorflow-serving-api is not installed.
        keep: Int. How many exports of this name to keep: older ones are removed once the new one is
            there, but for those that `<root>/models.config` serves by label or number. Defaults to
            all.
        images: Iterable of uint8 arrays `(height, width, channels)` to compare the network on, in
            its `precision`, with the model in float32; the metadata says how far it is. Defaults
            to parts of two photos.

    Returns:
        String, the path of the version's folder.

    Raises:
        ValueError: If the model has no classifier, no preprocessing, or an activation other than
            softmax and sigmoid, or an argument is not legal.
        FloatingPointError: If the model's probabilities are not finite.
        OSError: If the folder cannot be written. Nothing is left behind. Or if an older version
            cannot be removed, when the new one is there.
    """
    must("top", top, is_count(top), "a positive integer")
    check_arguments("saved_model", root, name, max_pixels, checkpoint, keep)
    batch_sizes = check_batch_sizes(warmup_batch_sizes)
    network = PixelNetwork(model, precision)
    names = class_names_of(model)
    top = min(top, len(names))
    functions = signatures_of(network, names, top, max_pixels)
    check_records(functions, batch_sizes)
    *_, found = form_difference(network, check_pixels(network, images))
    signatures = {key: function.get_concrete_function() for key, function in functions.items()}
    module = tf.Module()
    module.variables_used = signatures["serving_default"].variables
    with new_version(root, name) as part, tempfile.TemporaryDirectory() as folder:
        try:
            class_names = os.path.join(folder, CLASS_NAMES)
            write_class_names(model, class_names)
            module.class_names = tf.saved_model.Asset(class_names)
            tf.saved_model.save(module, part.path, signatures)
            write_metadata(part.path, model, max_pixels, top, precision, checkpoint)
            facts = {"format": "saved_model", "probabilities": network.kind, "difference": found}
            add_metadata(part.path, **facts)
            if batch_sizes:
                write_warmup(part.path, name, signatures, batch_sizes, max_pixels)
        except tf.errors.OpError as error:  # a full disk, for one
            raise OSError(f"Cannot write {os.path.join(root, name)}: {error.message}") from error
    remove_old_versions(root, name, keep, part.version)
    return part.version
