"""What an export answers, as TensorFlow functions from image files or pixels."""

import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.images import decode_image
from keras_resnets.models.interface import fixed_size_preprocessing, output_kind
from keras_resnets.models.network import Network
from keras_resnets.serving.inference import InferenceForm

_DECODED_AT_ONCE = 4  # images of a request


def signatures_of(model, top, max_pixels, precision):
    """The signatures of an export.

    Args:
        model: As for `export`.
        top: Int. How many of the best classes to name, at most all.
        max_pixels: Int. Image files that declare more are not decoded.
        precision: As for `InferenceForm`.

    Returns:
        Dictionary of `tf.function`s by the signatures' names.

    Raises:
        ValueError: As for `export`.
    """
    preprocessing = fixed_size_preprocessing(model)
    height, width = preprocessing.crop or preprocessing.resize
    channels = preprocessing.channels
    if channels not in (1, 3):
        raise UserError(
            "Only models of 1 (grey) or 3 (RGB) channels can be exported, as image files have no "
            f"others. Received: {channels} channels"
        )
    answer, features = _answers(model, top, precision)

    def prepare(encoded):
        image = decode_image(encoded, 3, max_pixels)
        return preprocessing(tf.image.rgb_to_grayscale(image) if channels == 1 else image)

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


def class_names_of(model):
    """The names of the classes, `"0"`, `"1"`, ... for a model without any."""
    outputs = model.output_shape[-1]
    names = getattr(model, "class_names", None) or [str(index) for index in range(outputs)]
    if len(names) != outputs:
        raise UserError(f"The model has {outputs} outputs and {len(names)} class names")
    return list(names)


def in_float32(model):
    """The model itself if all its layers compute in float32, else built again to do so."""
    if isinstance(model, Network):
        model.average_statistics()
    if all(layer.compute_dtype == layer.variable_dtype == "float32" for layer in model.layers):
        return model
    if not isinstance(model, Network):
        raise UserError(
            "An export is made of a network in float32, and only a keras_resnets.Network can be "
            f"built again as one. Received: a keras.Model of dtype policy "
            f"{model.layers[-1].dtype_policy.name}"
        )
    return model.copy_with(dtype="float32")


def _answers(model, top, precision):
    """Functions from standardized images to the answers, and to features or `None`."""
    kind = output_kind(model)
    network = InferenceForm(in_float32(model), precision)
    class_names = tf.constant(class_names_of(model))

    def answer(images):
        outputs = _never_empty(network, images)
        probabilities = tf.nn.softmax(outputs) if kind == "logits" else outputs
        scores, best = tf.math.top_k(probabilities, min(top, len(class_names)))
        return {
            "probabilities": probabilities,
            "classes": tf.gather(class_names, best),
            "scores": scores,
        }

    def features(images):
        return _never_empty(network.features, images)

    return answer, features if network.has_features else None


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
