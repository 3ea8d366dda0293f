"""The model that remembers how it was built."""

import dataclasses
import warnings
from typing import Any

import keras

from keras_resnets import layers
from keras_resnets._version import __version__
from keras_resnets.checks import must
from keras_resnets.errors import UserError
from keras_resnets.images import Preprocessing
from keras_resnets.models import copies, edits, registry, weight_files
from keras_resnets.models.graph import ordered_layers
from keras_resnets.models.options import Options, without_unused
from keras_resnets.models.policies import dtype_policy
from keras_resnets.models.records import Block, Plan, StageRecord, StemRecord
from keras_resnets.models.several_hosts import SeveralHosts, mean_over_hosts

# Of the configs in .keras files. 1 had only the options that a call may change, and ordered the
# layers of skippable branches by their blocks' order of merges.
FORMAT = 2


@dataclasses.dataclass(frozen=True, eq=False)
class _Identity:
    """What a network is; a dataclass, since Keras would track what a dictionary holds."""

    registry_name: str
    family: str
    options: Options
    plan: Plan
    layer_order: int
    policy: str
    layers: dict = dataclasses.field(default_factory=dict)  # in each order that was asked for
    fresh: dict = dataclasses.field(default_factory=dict)  # the layers' configs when it was built


@keras.saving.register_keras_serializable(package="keras_resnets")
class Network(SeveralHosts, keras.Model):
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

    def __init__(self, plan, output, *, registry_name, family, options, layer_order=FORMAT):
        policy = keras.config.dtype_policy().name
        self._identity = _Identity(registry_name, family, options, plan, layer_order, policy)
        super().__init__(plan.image, output, name=options.name or registry_name)
        if layer_order < FORMAT and self._ordered(FORMAT) == self.layers:
            self._identity = dataclasses.replace(self._identity, layer_order=FORMAT)
        self._identity.fresh.update(edits.snapshot(self.layers))
        self._class_names = None
        self.preprocessing = None

    @property
    def layers(self):
        """All layers in the order of the graph, those of skippable branches included.

        The order is the same with and without stochastic depth, so that files of weights are. The
        layers of a skippable branch are in a graph of their own: a model of their outputs starts
        at `branch.input`, see `blocks`, not at the network's input.
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
        return dataclasses.asdict(self._identity.options)

    @property
    def wiring(self) -> dict[str, Any]:
        return self._identity.options.wiring()

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
            raise UserError(
                f"`class_names` must have one name for each of the {outputs} outputs. "
                f"Received: {len(names)} names"
            )
        self._class_names = names

    @property
    def preprocessing(self):
        return self._preprocessing

    @preprocessing.setter
    def preprocessing(self, value):
        is_legal = value is None or isinstance(value, Preprocessing)
        must("preprocessing", value, is_legal, "a keras_resnets.Preprocessing or None")
        self._preprocessing = value

    def get_config(self):
        return {
            "format": FORMAT,
            "version": __version__,
            "layer_order": self._identity.layer_order,
            "registry_name": self.registry_name,
            "options": self.options,
            "name": self.name,
            "dtype": self._identity.policy,
            "trainable": self.trainable,
            "frozen": edits.frozen(self.layers),
            "edits": edits.changes(self.layers, self._identity.fresh),
            "preprocessing": self.preprocessing and self.preprocessing.get_config(),
            "class_names": self.class_names,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        if config.get("format", 1) > FORMAT:
            raise UserError(
                f"The file was written by keras_resnets {config.get('version', 'of later')}, whose "
                f"format {config['format']} this version ({__version__}) does not know: update it"
            )
        builder, options = registry.find(config["registry_name"]), config["options"]
        if config.get("format", 1) == 1:
            options = without_unused(builder.options, {**options, **builder.fixed})
        with dtype_policy(config["dtype"]):
            model = builder.build(options, config.get("layer_order", 1))
        model.name = config["name"]
        own = {layer.name: layer for layer in model.layers}
        for name, changed in config.get("edits", {}).items():
            if name in own:  # a copy may do without
                edits.apply(own[name], changed)
        edits.freeze(model, config.get("trainable", True), config["frozen"])
        if config["preprocessing"]:
            model.preprocessing = Preprocessing(**config["preprocessing"])
        model.class_names = config["class_names"]
        return model

    def copy_with(self, dtype=None, name=None, **options):
        """A copy of the network with other options, and with the same weights.

        Preprocessing, class names, changed and frozen layers are taken over as far as the copy has
        them.

        Args:
            dtype: String, a Keras dtype policy. Defaults to the network's own.
            name: String, the copy's name. Defaults to the network's own.
            **options: What differs: `include_top`, `input_shape`, `survival`, ...

        Returns:
            A `Network`.

        Raises:
            ValueError: If an option is not legal, or a layer of the copy other than the classifier
                is not in this network, or has another shape.
        """
        config = self.get_config()
        config["options"] |= options | ({"name": name} if name else {})
        config["dtype"] = dtype or config["dtype"]
        config["name"] = name or config["name"]
        if "num_classes" in options or not config["options"]["include_top"]:
            config["class_names"] = None
        model = type(self).from_config(config)
        copies.copy_weights(self, model)
        return model

    def reset_classifier(self, num_classes, class_names=None):
        """A copy of the network with a new classifier, for fine-tuning on other classes.

        Args:
            num_classes: Int.
            class_names: Sequence of strings, or `None`. Defaults to `None`.

        Returns:
            A `Network` with the weights of all other layers and the same preprocessing. Its
            classifier starts as that of any new network and is trainable; what is frozen stays so.
        """
        model = self.copy_with(num_classes=num_classes, include_top=True)
        copies.renew(model, "logits")
        model.class_names = class_names
        return model

    def load_weights(self, filepath, skip_mismatch=False, **kwargs):
        """Loads weights as `keras.Model.load_weights` does.

        A file loads across what does not change the trunk's computation: survival, dropout, the
        head, the input's size.

        Raises:
            UserError: If the file is no `.keras` or `.weights.h5` file (others cannot say whose
                weights they hold), of a differently wired network, if its layers stand in another
                order, or if shapes differ and `skip_mismatch` is `False`.
        """
        weight_files.check_suffix(filepath)
        weight_files.check(self, filepath, skip_mismatch)
        super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)

    def save_weights(self, filepath, *args, **kwargs):
        """Saves weights as `keras.Model.save_weights` does, to one file, with family and wiring.

        Raises:
            UserError: If the file's name does not end in `.weights.h5`.
        """
        weight_files.check_suffix(filepath)
        before = weight_files.written_at(filepath)
        super().save_weights(filepath, *args, **kwargs)
        if weight_files.written_at(filepath) != before:  # else an older file was to stay
            weight_files.stamp(self, filepath)

    def compile_from_config(self, config):
        super().compile_from_config(config)
        self._be_followed()  # before the optimizer's variables are loaded

    def _be_followed(self):
        """Lets an optimizer that averages weights find the statistics to average."""
        outer = getattr(self, "optimizer", None)  # in mixed_float16 a loss scale is around it
        optimizer = getattr(outer, "inner_optimizer", outer)
        if getattr(optimizer, "ema_decay", 0.0):
            if not outer.built:
                outer.build(self.trainable_variables)
            optimizer.follow(self)

    def make_train_function(self, force=False):
        # Not in `compile`: Keras compiles no loaded model whose class has one of its own.
        skipping = any(isinstance(layer, layers.SkippingMerge) for layer in self.layers)
        if self.jit_compile is True and skipping and not self.train_function:
            warnings.warn(
                "XLA computes skippable branches many times more slowly: compile with "
                "jit_compile=False, or build with survival_draw='sample'",
                stacklevel=3,
            )
        self._be_followed()
        return super().make_train_function(force)

    def test_step(self, data):
        """Keras' own, in whose mean loss images of weight 0 do not count.

        They fill up the last batch, so that all replicas get as many: how many there are depends on
        the devices. Keras adds up their losses, which are 0, but counts them.
        """
        results = super().test_step(data)
        *_, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is None:
            return results
        count = self._loss_tracker.count
        count.assign_sub(keras.ops.sum(keras.ops.cast(keras.ops.equal(weights, 0), count.dtype)))
        return self.get_metrics_result()

    def average_statistics(self):
        """Makes the moving statistics of batch normalization equal on all replicas: their mean.

        Under a strategy every replica moves its own by the batches that it sees. Without this,
        a score computed on all replicas is not that of the saved file, which holds the first
        replica's. `evaluate`, `predict` and `export` call it, and every way of saving does. A
        model composed of our layers with the functional API saves averaged statistics too; before
        it is evaluated on replicas, call each layer's `average_statistics`.

        On several hosts, all workers must call it before one of them saves, which averages the
        replicas of its host alone.
        """
        statistics = []
        for layer in self.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.average_statistics()
                statistics += [layer.moving_mean, layer.moving_variance]
        optimizer = getattr(self, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        statistics += getattr(optimizer, "averaged_statistics", [])
        mean_over_hosts(self.distribute_strategy, statistics)

    def evaluate(self, *args, **kwargs):
        self.average_statistics()
        return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        self.average_statistics()
        return super().predict(*args, **kwargs)

    def export(self, *args, **kwargs):
        self.average_statistics()
        return super().export(*args, **kwargs)
