"""A network as it is served: batch norm inside the convolutions, padding inside the op."""

import keras
import tensorflow as tf

from keras_resnets.checks import check_choice
from keras_resnets.errors import UserError
from keras_resnets.serving.flat_graph import flatten
from keras_resnets.serving.folding import fold
from keras_resnets.serving.strides import propagate_strides

PRECISIONS = ("float32", "bfloat16")


class InferenceForm:
    """A functional model in the form that computes fastest, for inference only.

    A batch norm behind a convolution whose only reader it is becomes part of its kernel and bias,
    wherever in the graph the two are: after each convolution in post-activated nets, from one
    convolution of a block to the next in pre-activated ones. Symmetric padding is inside the
    convolution op. Stochastic depth's survival and the mean of a FractalNet's join go into the
    kernels before them where they can; what only trains is gone. Layers of other kinds compute as
    they are, in float32 where they are not Keras' or this package's.

    Args:
        model: Functional `keras.Model` that computes in float32, such as a `Network`.
        precision: `"float32"`, or `"bfloat16"` for maps and kernels of 16 bits; what follows the
            last map, the pooled features and the classifier, is float32 in both. Defaults to
            `"float32"`.
        in_strides: Boolean, whether what only strided 1x1 convolutions read is computed at the
            positions that they read alone. Defaults to `True`.

    Call arguments:
        images: Tensor `(batch, height, width, channels)` as the model takes it.

    Returns:
        Float32 tensor, the model's output.

    Attributes:
        operations: List of `operations.Operation`, what it computes in order.

    Raises:
        ValueError: If the model is not functional, has several inputs or outputs, or `precision`
            is not legal.
    """

    def __init__(self, model, precision="float32", in_strides=True):
        check_choice("precision", precision, PRECISIONS)
        graph = flatten(model)
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise UserError(
                "The model must have one input and one output. "
                f"Received: {len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
            )
        self._image = graph.inputs[0]
        features = _features_of(graph)
        kept = [*graph.outputs] if features is None else [*graph.outputs, features]
        self.operations, self._kept = fold(graph, kept)
        if in_strides:
            self.operations = propagate_strides(self.operations, self._kept)
        self._dtype = tf.dtypes.as_dtype(precision)
        # Signatures call one function that is not put into each of them: the kernels are constants.
        image = tf.TensorSpec([None, *model.input_shape[1:]], tf.float32)
        # Traced at once: of several forms' first calls TensorFlow warns as of one's retracing.
        self._compute = tf.function(
            self._run, input_signature=[image], experimental_attributes={"_noinline": True}
        ).get_concrete_function()

    def __call__(self, images):
        return self._compute(tf.cast(images, tf.float32))[0]

    @property
    def has_features(self):
        """Whether the model ends in a dense classifier, so that it has features."""
        return len(self._kept) > 1

    def features(self, images):
        """What the classifier reads: in a `Network` its pooled last map.

        Args:
            images: As for the call.

        Returns:
            Float32 tensor `(batch, features)`.
        """
        return self._compute(tf.cast(images, tf.float32))[1]

    def _run(self, images):
        tensors = {self._image: images}
        for operation in self.operations:
            made = operation([tensors[value] for value in operation.inputs], self._dtype)
            tensors.update(zip(operation.outputs, made, strict=True))
        return [tf.cast(tensors[value], tf.float32) for value in self._kept]


def _features_of(graph):
    """The vectors that the last dense layer reads, or `None` if the model does not end in one.

    Behind it only what has no weights: an activation, a dropout.
    """
    makers = {value: call for call in graph.calls for value in call.outputs}
    call = makers.get(graph.outputs[0])
    while call is not None and call.rank == 2 and len(call.inputs) == 1:
        if isinstance(call.layer, keras.layers.Dense):
            return call.inputs[0]
        call = None if getattr(call.layer, "weights", None) else makers.get(call.inputs[0])
    return None
