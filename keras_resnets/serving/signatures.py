"""What an export answers, as TensorFlow functions from image files or pixels."""

import tensorflow as tf

from keras_resnets.serving.pixels import check_channels, decoded

_DECODED_AT_ONCE = 4  # images of a request


def signatures_of(network, class_names, top, max_pixels):
    """The signatures of an export.

    Args:
        network: `PixelNetwork`.
        class_names: Sequence of strings.
        top: Int. How many of the best classes to name, at most all.
        max_pixels: Int. Image files that declare more are not decoded.

    Returns:
        Dictionary of `tf.function`s by the signatures' names.

    Raises:
        ValueError: As for `export`.
    """
    preprocessing, (height, width, channels) = network.preprocessing, network.shape
    check_channels(channels)
    answer, features = _answers(network, class_names, top)

    def prepare(encoded):
        return preprocessing(decoded(encoded, channels, max_pixels))

    def decode(image_bytes):
        return _decode_each(image_bytes, prepare, (height, width, channels))

    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    pixels = tf.TensorSpec([None, None, None, channels], tf.uint8, name="image")

    @tf.function(input_signature=[files])
    def serving_default(image_bytes):
        images, valid = decode(image_bytes)
        return _only_valid(answer(images), valid)

    @tf.function(input_signature=[pixels])
    def predict_images(image):
        return answer(tf.ensure_shape(preprocessing(image), [None, height, width, channels]))

    @tf.function(input_signature=[files])
    def features_of_files(image_bytes):
        images, valid = decode(image_bytes)
        return _only_valid({"features": features(images)}, valid)

    functions = {"serving_default": serving_default, "predict_images": predict_images}
    return functions | ({"features": features_of_files} if features else {})


def _answers(network, class_names, top):
    """Functions from standardized images to the answers, and to features or `None`."""
    names = tf.constant(class_names)

    def answer(images):
        probabilities = network.read(_never_empty(network.form, images))
        scores, best = tf.math.top_k(probabilities, top)
        return {
            "probabilities": probabilities,
            "classes": tf.gather(names, best),
            "scores": scores,
        }

    def features(images):
        return _never_empty(network.form.features, images)

    return answer, features if network.form.has_features else None


def _never_empty(network, images):
    """The network's outputs for any number of images: oneDNN's fused convolution takes no 0."""
    count = tf.shape(images)[0]
    rows = tf.pad(images, [[0, tf.maximum(1 - count, 0)], [0, 0], [0, 0], [0, 0]])
    return network(rows)[:count]


def _decode_each(encoded, prepare, shape):
    """Images of a batch of files, zeros for those that `prepare` fails on, and which are right."""
    count = tf.size(encoded)
    files = tf.data.Dataset.from_tensor_slices((tf.range(count), encoded))
    prepared = files.map(
        lambda place, data: (place, tf.ensure_shape(prepare(data), shape)), _DECODED_AT_ONCE
    ).ignore_errors()
    # One more row, which is always there: a data set of no row at all has no element to get.
    spare = tf.data.Dataset.from_tensors((count, tf.zeros(shape)))
    together = prepared.concatenate(spare).batch(tf.cast(count + 1, tf.int64))
    places, images = together.get_single_element()
    places = places[:, None]
    images = tf.scatter_nd(places, images, [count + 1, *shape])[:-1]
    valid = tf.scatter_nd(places, tf.ones_like(places[:, 0]), [count + 1])[:-1]
    return images, valid > 0


def _only_valid(answers, valid):
    """The answers with NaN, or an empty name, in the rows that are not valid; and which are."""

    def blank(values):
        nothing = "" if values.dtype == tf.string else float("nan")
        return tf.where(valid[:, None], values, tf.constant(nothing, values.dtype))

    return {name: blank(values) for name, values in answers.items()} | {"valid": valid}
