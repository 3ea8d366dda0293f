"""Requests that TensorFlow Serving answers before a new version takes any others."""

import importlib.util
import os
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from keras_resnets.checks import is_count, must
from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS

WARMUP = os.path.join("assets.extra", "tf_serving_warmup_requests")  # the server's own name for it
BATCH_SIZES = (1, 2, 4, 8)
MISSING = "needs tensorflow-serving-api: pip install 'keras_resnets[serving]'"
_SIDES = (48, 64)  # height, width; the network sees its own size whatever the image's
_MOST_RECORDS = 1000  # the server refuses a model with more


def has_serving_api():
    """Whether TensorFlow Serving's messages are installed."""
    return (
        importlib.util.find_spec("tensorflow_serving") is not None
        and importlib.util.find_spec("tensorflow_serving.apis") is not None
    )


def check_batch_sizes(batch_sizes):
    """The batch sizes to warm up with, those given or `BATCH_SIZES` where they can be written.

    Raises:
        UserError: If they are not legal, or asked for and cannot be written.
    """
    if batch_sizes is None:
        return BATCH_SIZES if has_serving_api() else ()
    are_sizes = isinstance(batch_sizes, Iterable) and all(map(is_count, batch_sizes))
    legal = "a sequence of positive integers, or empty for no warm-up"
    must("warmup_batch_sizes", batch_sizes, are_sizes, legal)
    if batch_sizes and not has_serving_api():
        raise UserError(f"A warm-up file {MISSING}")
    return tuple(batch_sizes)


def check_records(signatures, batch_sizes):
    """Refuses more requests than the server takes.

    Args:
        signatures: Collection of the signatures' names.
        batch_sizes: Sequence of ints.
    """
    if len(signatures) * len(batch_sizes) > _MOST_RECORDS:
        raise UserError(
            f"TensorFlow Serving takes {_MOST_RECORDS} warm-up requests: give fewer batch sizes. "
            f"Received: {len(batch_sizes)}, for {len(signatures)} signatures each"
        )


def write_warmup(version, name, signatures, batch_sizes=BATCH_SIZES, max_pixels=MAX_PIXELS):
    """Writes `assets.extra/tf_serving_warmup_requests`: `PredictionLog` records in a TFRecord file.

    There is one for each signature and batch size, of synthetic images: JPEG files where the
    signature takes strings, else pixels. The same arguments give the same file.

    Args:
        version: String or path. The folder of the export.
        name: String. What the model is served by.
        signatures: Dictionary from a signature's name to its concrete function with one input,
            strings `(batch,)` or uint8 `(batch, height, width, channels)`.
        batch_sizes: Sequence of ints. Defaults to `(1, 2, 4, 8)`.
        max_pixels: Int. The most pixels of an image that the export takes. Defaults to 50 million.

    Raises:
        UserError: If that would be more than the 1,000 records that the server allows.
        OSError: If the file cannot be written.
    """
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    check_records(signatures, batch_sizes)
    path = os.path.join(version, WARMUP)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    sides = _SIDES if max_pixels >= _SIDES[0] * _SIDES[1] else (1, max_pixels)
    with tf.io.TFRecordWriter(path) as file:
        for signature_name, function in signatures.items():
            (spec,) = tf.nest.flatten(function.structured_input_signature)
            for size in batch_sizes:
                model_spec = model_pb2.ModelSpec(name=name, signature_name=signature_name)
                inputs = {spec.name: tf.make_tensor_proto(_images(spec, size, sides))}
                request = predict_pb2.PredictRequest(model_spec=model_spec, inputs=inputs)
                log = prediction_log_pb2.PredictLog(request=request)
                record = prediction_log_pb2.PredictionLog(predict_log=log)
                file.write(record.SerializeToString(deterministic=True))


def _images(spec, count, sides):
    """Synthetic images: slopes of random direction, which are small as JPEG."""
    rng = np.random.default_rng(count)
    down, right = (np.linspace(0, 1, side) for side in sides)
    slopes = rng.uniform(-1, 1, (2, count, 1, 1, 3))
    images = slopes[0] * down[:, None, None] + slopes[1] * right[:, None]
    images = np.uint8(255 * (images - images.min()) / (np.ptp(images) or 1))
    if spec.dtype == tf.string:
        return np.array([tf.io.encode_jpeg(image).numpy() for image in images], object)
    return images[..., : spec.shape[-1]]
