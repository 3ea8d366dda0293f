"""The model that remembers how it was built."""

import contextlib
import dataclasses
from typing import Any

import keras

from keras_resnets import layers
from keras_resnets.images import Preprocessing
from keras_resnets.models import registry, weight_files
from keras_resnets.models.graph import ordered_layers
from keras_resnets.models.options import UnusedOption
from keras_resnets.models.records import Block, Plan, StageRecord, StemRecord

# Of the configs in .keras files. 1 had only the options that a call may change, and ordered the
# layers of skippable branches by their blocks' order of merges.
FORMAT = 2


@dataclasses.dataclass(frozen=True, eq=False)
class _Identity:
    """What a network is; a dataclass, since Keras would track what a dictionary holds."""

    registry_name: str
    family: str
    options: dict
    plan: Plan
    layer_order: int
    layers: dict = dataclasses.field(default_factory=dict)  # in each order that was asked for


@keras.saving.register_keras_serializable(package="keras_resnets")
class Network(keras.Model):
    """A functional `keras.Model` that remembers how it was built.

    Its config is the registry name and the options, not the list of its layers: a `.keras` file
    is small, loads by building the net again, and carries what evaluation, prediction and export
    need. Take layers from it to build further models with the functional API as with any Keras
    model; those are plain `keras.Model`s.

    Attributes:
        registry_name: String. The name to give to `create_model`.
        family: String. The registry name of the family that it is a member of.
        options: Dictionary. Every option with its value, those that a variant fixes included:
            `create_model(model.registry_name, **model.options)` builds the same network.
        stem: `StemRecord`, with the stem's maps by their strides.
        stages: Tuple of `StageRecord`.
        blocks: Tuple of `Block`, of all stages.
        final: Keras tensor that ends the trunk, after the last activation and before the pool.
        preprocessing: `Preprocessing` from pixels to the network's input, or `None` if unknown.
        class_names: Tuple of strings, one for each output, or `None` if unknown.
    """

    def __init__(
        self, plan, output, *, registry_name, family, options, layer_order=FORMAT, name=None
    ):
        self._identity = _Identity(registry_name, family, options, plan, layer_order)
        super().__init__(plan.image, output, name=name or registry_name)
        if layer_order < FORMAT and self._ordered(FORMAT) == self.layers:
            self._identity = dataclasses.replace(self._identity, layer_order=FORMAT)
        self._class_names = None
        self.preprocessing = None

    @property
    def layers(self):
        """All layers in the order of the graph, those of skippable branches included.

        The order does not depend on stochastic depth, and neither does a file of weights.
        """
        return self._ordered(self._identity.layer_order)

    def _ordered(self, layer_order):
        known = self._identity.layers
        if layer_order not in known:
            known[layer_order] = ordered_layers(
                super().layers, self.outputs[0], self.blocks, opened=layer_order == 1
            )
        return list(known[layer_order])

    @property
    def registry_name(self) -> str:
        return self._identity.registry_name

    @property
    def family(self) -> str:
        return self._identity.family

    @property
    def options(self) -> dict[str, Any]:
        return dict(self._identity.options)

    @property
    def stem(self) -> StemRecord:
        return self._identity.plan.stem

    @property
    def stages(self) -> tuple[StageRecord, ...]:
        return self._identity.plan.stages

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(block for stage in self.stages for block in stage.blocks)

    @property
    def final(self):
        return self._identity.plan.final

    def joined(self, paths):
        """One map of the paths that leave a stage, by the family's rule.

        Args:
            paths: Keras tensor or tuple of them, the `output` of a block or stage.

        Returns:
            Keras tensor.
        """
        return self._identity.plan.join(paths)

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
            "format": FORMAT,
            "layer_order": self._identity.layer_order,
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
        if config.get("format", 1) > FORMAT:
            raise ValueError(
                "The file was written by a newer keras_resnets: its format must be at most "
                f"{FORMAT}. Received: format={config['format']}"
            )
        with dtype_policy(config["dtype"]):
            model = _build(config)
        model.name = config["name"]
        for name in config["frozen"]:
            model.get_layer(name).trainable = False
        if config["preprocessing"]:
            model.preprocessing = Preprocessing(**config["preprocessing"])
        model.class_names = config["class_names"]
        return model

    def load_weights(self, filepath, skip_mismatch=False, **kwargs):
        """Loads weights as `keras.Model.load_weights` does.

        Raises:
            ValueError: If the file's layers stand in another order than the network's.
        """
        weight_files.check_order(self, filepath)
        super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)

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


def _build(config):
    """The network of a config, whatever its format."""
    builder, options = registry.find(config["registry_name"]), dict(config["options"])
    layer_order = config.get("layer_order", 1)
    while True:
        try:
            return builder.build(options, layer_order)
        except UnusedOption as error:  # the first format let them pass
            if config.get("format", 1) > 1:
                raise
            del options[error.option]


@contextlib.contextmanager
def dtype_policy(policy):
    """Builds layers under a Keras dtype policy and gives the global one back afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
