"""What an export answers, as TensorFlow functions from image files or pixels."""

import tensorflow as tf

from keras_resnets.errors import UserError
from keras_resnets.images import decode_image
from keras_resnets.models.interface import fixed_size_preprocessing, output_kind
from keras_resnets.models.network import Network


def signatures_of(model, top, max_pixels):
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
    class_names = tf.constant(class_names_of(model))

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


def class_names_of(model):
    outputs = model.output_shape[-1]
    names = getattr(model, "class_names", None) or [str(index) for index in range(outputs)]
    if len(names) != outputs:
        raise UserError(f"The model has {outputs} outputs and {len(names)} class names")
    return list(names)
