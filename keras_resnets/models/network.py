"""The one idea: stem -> stages -> head, and the model that remembers how it was built."""

import contextlib
import functools
from collections.abc import Callable
from typing import NamedTuple

import keras

from keras_resnets import layers
from keras_resnets.images import Preprocessing


class Stage(NamedTuple):
    """A row of a network's table: `depth` blocks of one width, the first with the stride.

    Attributes:
        block: `block(x, width, stride, dilation, name, position) -> x`, where `x` is a tensor or
            a tuple of tensors (paths), and `position` in (0, 1] is the block's place in the net.
        depth: Int. Number of blocks.
        width: Int. Channels of the block's spatial convolutions.
        stride: Int. Stride of the first block. Defaults to 1.
        dilation: Int. Dilation of all blocks but the first, which keeps that of the stage before
            (torchvision's rule). Defaults to 1.
    """

    block: Callable
    depth: int
    width: int
    stride: int = 1
    dilation: int = 1


NORMS = {
    "batch": layers.BatchNormalization,
    "sync_batch": functools.partial(layers.BatchNormalization, synchronized=True),
    "group": layers.GroupNormalization,
}


def imagenet_stem(x, width, *, norm, conv=layers.Conv2D):
    """7x7 stride 2, BN, ReLU, 3x3 max-pool stride 2 (He 2015, Table 1)."""
    x = conv(width, 7, strides=2, name="stem_conv")(x)
    x = _stem_activation(x, norm)
    return layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)


def cifar_stem(x, width, *, norm, conv=layers.Conv2D):
    """3x3, BN, ReLU (He 2015, section 4.2)."""
    x = conv(width, 3, name="stem_conv")(x)
    return _stem_activation(x, norm)


def _stem_activation(x, norm):
    """BN, ReLU; nothing for `norm=None`: nets whose first block begins with BN and ReLU."""
    if norm is None:
        return x
    x = norm(name="stem_bn")(x)
    return keras.layers.ReLU(name="stem_relu")(x)


def no_stem(x, width, *, norm, conv=None):
    """Nothing: the image enters the first stage (FractalNet)."""
    return x


STEMS = {"imagenet": imagenet_stem, "cifar": cifar_stem, None: no_stem}
SMALLEST_SIDE = {"imagenet": 32, "cifar": 8, None: 1}
DEFAULT_INPUT_SHAPE = {"imagenet": (224, 224, 3), "cifar": (32, 32, 3), None: (32, 32, 3)}


def assemble(
    stem,
    stages,
    *,
    final=None,
    input_shape,
    num_classes,
    include_top=True,
    pooling=None,
    classifier_activation=None,
    head_dropout=0.0,
):
    """Builds the functional graph of a network.

    Args:
        stem: `stem(image) -> x`.
        stages: Sequence of `Stage`.
        final: `final(x) -> tensor`, which ends the trunk (a last BN-ReLU, the join of paths), or
            `None` for a trunk that ends in one tensor.
        input_shape: `(height, width, channels)`.
        num_classes: Int. See `head`, as for the further arguments.

    Returns:
        A pair `(image, outputs)` of Keras tensors.
    """
    image = keras.Input(input_shape, name="image")
    x = stem(image)
    total = sum(stage.depth for stage in stages)
    built, dilation = 0, 1
    for number, stage in enumerate(stages, 1):
        stride = stage.stride
        for index in range(1, stage.depth + 1):
            built += 1
            name = f"stage{number}_block{index}"
            x = stage.block(x, stage.width, stride, dilation, name, built / total)
            stride, dilation = 1, stage.dilation
        dilation = stage.dilation
    x = final(x) if final else x
    return image, head(
        x, num_classes, include_top, pooling, classifier_activation, head_dropout
    )


def head(x, num_classes, include_top, pooling, classifier_activation, head_dropout):
    """Global average pool, dropout if asked for, and the classifier, in float32.

    The classifier starts uniform in +-1 / sqrt(features), kernel and bias, as torchvision's.
    """
    if not include_top and pooling is None:
        return x
    pool = keras.layers.GlobalMaxPooling2D if pooling == "max" else (
        keras.layers.GlobalAveragePooling2D
    )
    x = pool(name="pool")(x)
    if not include_top:
        return x
    if head_dropout:
        x = keras.layers.Dropout(head_dropout, name="head_dropout")(x)
    bound = x.shape[-1] ** -0.5
    return keras.layers.Dense(
        num_classes,
        activation=classifier_activation,
        kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        dtype="float32",
        name="logits",
    )(x)


@keras.saving.register_keras_serializable(package="keras_resnets")
class Network(keras.Model):
    """A functional `keras.Model` that remembers how it was built.

    Its config is the registry name and the options, not the list of its layers: a `.keras` file
    is small, loads by building the net again, and carries what evaluation, prediction and export
    need. Take layers from it to build further models with the functional API as with any Keras
    model; those are plain `keras.Model`s.

    Attributes:
        registry_name: String. The name to give to `create_model`.
        options: Dictionary. Every option of the builder with its value.
        preprocessing: `Preprocessing` from pixels to the network's input, or `None` if unknown.
        class_names: Tuple of strings, one for each output, or `None` if unknown.
    """

    def __init__(self, inputs, outputs, *, registry_name, options, name=None):
        super().__init__(inputs, outputs, name=name or registry_name)
        self._recipe = (registry_name, options)  # a tuple: Keras would wrap and track a dict
        self._class_names = None
        self.preprocessing = None

    @property
    def layers(self):
        """All layers in the order of the graph, those of skippable branches included.

        Just before the layer that merges them come a block's shortcut layers. The order hence
        does not depend on stochastic depth, and neither does a file of weights, which goes by it.
        """
        ordered, shortcut = [], []
        for layer in _flatten(super().layers):
            if "_shortcut_" in layer.name:
                shortcut.append(layer)
                continue
            if isinstance(layer, layers.Merge):
                ordered += shortcut
                shortcut = []
            ordered.append(layer)
        return ordered + shortcut

    @property
    def registry_name(self):
        return self._recipe[0]

    @property
    def options(self):
        return dict(self._recipe[1])

    @property
    def class_names(self):
        return self._class_names

    @class_names.setter
    def class_names(self, names):
        names = None if names is None else tuple(str(name) for name in names)
        outputs = self.output_shape[-1]
        if names is not None and len(names) != outputs:
            raise ValueError(
                f"`class_names` must have one name for each of the {outputs} outputs. "
                f"Received: {len(names)} names"
            )
        self._class_names = names

    def get_config(self):
        first_conv = next(layer for layer in self.layers if isinstance(layer, layers.Conv2D))
        return {
            "registry_name": self.registry_name,
            "options": self.options,
            "name": self.name,
            "dtype": first_conv.dtype_policy.name,
            "frozen": [layer.name for layer in self.layers if not layer.trainable],
            "preprocessing": self.preprocessing and self.preprocessing.get_config(),
            "class_names": self.class_names,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        from keras_resnets.models.registry import create_model  # it needs this class

        with dtype_policy(config["dtype"]):
            model = create_model(config["registry_name"], **config["options"])
        model.name = config["name"]
        for name in config["frozen"]:
            model.get_layer(name).trainable = False
        if config["preprocessing"]:
            model.preprocessing = Preprocessing(**config["preprocessing"])
        model.class_names = config["class_names"]
        return model

    def average_statistics(self):
        """Makes the moving statistics of batch normalization equal on all replicas: their mean.

        Under a strategy every replica moves its own by the batches that it sees. Without this,
        a score computed on all replicas is not that of the saved file, which holds the first
        replica's. `evaluate`, `predict` and `export` call it, and every way of saving does. A
        model composed of our layers with the functional API saves averaged statistics too; before
        it is evaluated on replicas, call each layer's `average_statistics`.
        """
        for layer in self.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.average_statistics()

    def evaluate(self, *args, **kwargs):
        self.average_statistics()
        return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        self.average_statistics()
        return super().predict(*args, **kwargs)

    def export(self, *args, **kwargs):
        self.average_statistics()
        return super().export(*args, **kwargs)


def _flatten(graph_layers):
    for layer in graph_layers:
        if isinstance(layer, layers.SkippingMerge):
            yield from layer.branch.layers[1:]  # without its input
        yield layer


@contextlib.contextmanager
def dtype_policy(policy):
    """Builds layers under a Keras dtype policy and gives the global one back afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
