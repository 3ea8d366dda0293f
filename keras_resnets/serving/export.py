"""A network as a SavedModel that takes image files or pixels and answers with class names."""

import contextlib
import errno
import json
import os
import shutil
import uuid

import keras
import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS, decode_image
from keras_resnets.locks import try_lock
from keras_resnets.models.interface import fixed_size_preprocessing, output_kind
from keras_resnets.models.network import Network
from keras_resnets.serving.prediction import METADATA

PART = ".export-"


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
    if name in ("", ".", "..") or os.path.basename(name) != name:
        raise UserError(f"`name` must be the name of one folder. Received: name={name!r}")
    if top < 1:
        raise UserError(f"`top` must be at least 1. Received: top={top}")
    if max_pixels < 1:
        raise UserError(f"`max_pixels` must be at least 1. Received: max_pixels={max_pixels}")
    functions = _signatures(model, top, max_pixels)
    signatures = {key: function.get_concrete_function() for key, function in functions.items()}
    module = tf.Module()
    module.variables_used = signatures["serving_default"].variables

    folder = os.path.join(root, name)
    os.makedirs(folder, exist_ok=True)
    with _part(folder) as part:
        try:
            tf.saved_model.save(module, part, signatures)
            _write_metadata(model, max_pixels, os.path.join(part, METADATA))
            return _rename_to_next_version(part, folder)
        except tf.errors.OpError as error:  # a full disk, for one
            raise OSError(f"Cannot write {folder}: {error.message}") from error


def versions(folder):
    """The version numbers below a served model's folder, ascending."""
    return sorted(int(entry) for entry in os.listdir(folder) if entry.isdecimal())


@contextlib.contextmanager
def _part(folder):
    """A folder that is no version to any server, and that goes at the end.

    Its lock ends with this process: what exporters left that were killed is known by it, and goes
    first.
    """
    part = os.path.join(folder, f"{PART}{uuid.uuid4().hex}")
    with _opened(folder) as lock:
        try_lock(lock, wait=True)  # between being made and being locked, a folder looks left
        for entry in os.listdir(folder):
            if entry.startswith(PART):
                _remove_if_left(os.path.join(folder, entry))
        os.mkdir(part)
        own = os.open(part, os.O_RDONLY)
        try_lock(own)
    try:
        yield part
    finally:  # Ctrl-C too
        shutil.rmtree(part, ignore_errors=True)
        os.close(own)


def _remove_if_left(part):
    # By now it may have become a version.
    with contextlib.suppress(FileNotFoundError), _opened(part) as descriptor:
        if try_lock(descriptor):
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _signatures(model, top, max_pixels):
    """The signatures as `tf.function`s, by name."""
    kind = output_kind(model)
    preprocessing = fixed_size_preprocessing(model)
    height, width = preprocessing.crop or preprocessing.resize
    channels = preprocessing.channels
    if channels not in (1, 3):
        raise UserError(
            "Only models of 1 (grey) or 3 (RGB) channels can be exported, as image files have no "
            f"others. Received: {channels} channels"
        )
    network = _in_float32(model)
    class_names = tf.constant(_class_names(model))

    def answer(images):
        outputs = network(images, training=False)
        probabilities = tf.nn.softmax(outputs) if kind == "logits" else outputs
        scores, best = tf.math.top_k(probabilities, min(top, len(class_names)))
        return {
            "probabilities": probabilities,
            "classes": tf.gather(class_names, best),
            "scores": scores,
        }

    def prepare(encoded):
        image = decode_image(encoded, 3, max_pixels)
        return preprocessing(tf.image.rgb_to_grayscale(image) if channels == 1 else image)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(image_bytes):
        spec = tf.TensorSpec([height, width, channels])
        return answer(tf.map_fn(prepare, image_bytes, fn_output_signature=spec))

    pixels = tf.TensorSpec([None, None, None, channels], tf.uint8, name="image")

    @tf.function(input_signature=[pixels])
    def predict_images(image):
        return answer(tf.ensure_shape(preprocessing(image), [None, height, width, channels]))

    return {"serving_default": serving_default, "predict_images": predict_images}


def _in_float32(model):
    """The model itself if all its layers compute in float32, else built again to do so."""
    if isinstance(model, Network):
        model.average_statistics()
    if all(layer.compute_dtype == layer.variable_dtype == "float32" for layer in model.layers):
        return model
    if not isinstance(model, Network):
        raise UserError(
            "An export computes in float32, and only a keras_resnets.Network can be built again "
            f"for it. Received: a keras.Model of dtype policy {model.layers[-1].dtype_policy.name}"
        )
    return model.copy_with(dtype="float32")


def _class_names(model):
    outputs = model.output_shape[-1]
    names = getattr(model, "class_names", None) or [str(index) for index in range(outputs)]
    if len(names) != outputs:
        raise UserError(f"The model has {outputs} outputs and {len(names)} class names")
    return list(names)


def _write_metadata(model, max_pixels, path):
    """Notes for people. TensorFlow Serving leaves a folder of this name alone."""
    metadata = {
        "model": getattr(model, "registry_name", model.name),
        "options": getattr(model, "options", {}),
        "preprocessing": fixed_size_preprocessing(model).get_config(),
        "class_names": _class_names(model),
        "max_pixels": max_pixels,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    os.mkdir(os.path.dirname(path))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(metadata, file, indent=2, ensure_ascii=False)


def _rename_to_next_version(part, folder):
    while True:
        path = os.path.join(folder, str(max(versions(folder), default=0) + 1))
        try:
            os.rename(part, path)
            return path
        except OSError as error:
            # Another exporter was faster: a folder with something in it is not replaced.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
