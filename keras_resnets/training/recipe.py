"""The recipe of a run: every number that decides its result, and its default."""

import dataclasses
import json
import math
from pathlib import Path

from keras_resnets.errors import UserError
from keras_resnets.images import MAX_PIXELS
from keras_resnets.training.distribution import MOST_DEVICES, STRATEGIES
from keras_resnets.training.kinds import OPTIMIZERS, own_value
from keras_resnets.training.losses import CLASS_WEIGHTS, LOSSES
from keras_resnets.training.optimizer import MOMENTUM_FORMS
from keras_resnets.training.recipe_values import (
    as_type,
    check_operations,
    flag_lines,
    parse_options,
    parse_sizes,
)
from keras_resnets.training.schedules import SCHEDULES, check_schedule
from keras_resnets.training.updates import DECAYS

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
# What training itself decides, or what its loss on logits rules out.
RESERVED_OPTIONS = (
    "num_classes", "input_shape", "include_top", "classifier_activation", "weights"
)
# Fields that are the optimizer's own default unless given.
OF_THE_OPTIMIZER = ("epsilon", "decay", "clip_norm")


def _field(help, default=dataclasses.MISSING, **metadata):  # noqa: A002
    return dataclasses.field(default=default, metadata={"help": help, **metadata})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One field for each flag of scripts/train.py, whose help is the field's metadata.

    `option` is a dictionary, or a sequence of `"key=value"` as the flags give it; `augment`,
    `mix` and `boundaries` are sequences, or strings with commas as the flags take them (those
    within brackets part nothing). In Python `augment` and `mix` may hold operations too. Those that
    no description makes are kept as texts that begin with `own:`; a recipe from a file has no more
    than these, and cannot be trained.

    `epsilon`, `decay` and `clip_norm` are the optimizer's own unless given: `None` becomes the
    default of its class, or stays where the optimizer takes none.

    `where` marks the fields that say where things are and what is watched, not what is computed:
    they may change when a run goes on.

    Raises:
        UserError: If a value is out of its range or of another type.
    """

    model: str = _field("Registry name of the network: `python scripts/models.py` lists them.")
    option: tuple = _field(
        "Option of the builder, key=value; repeatable.", default=(), repeatable=True
    )
    init: str = _field(
        "Weights to start from: a file (torch, safetensors, Keras) or a name (IMAGENET1K_V2).",
        default="",
    )
    freeze: tuple = _field(
        "Parts that are not trained, comma-separated: stem, stage1, ..., backbone, batch_norm.",
        default=(),
    )
    dataset: str = _field("A tfds name, `digits`, a folder of class folders, or a CSV list.")
    data_dir: str = _field("Folder of prepared tfds sets.", default="", where=True)
    train_split: str = _field("tfds slice to train on, such as train[:45000].", default="")
    validation_split: str = _field(
        "tfds slice to choose best.keras on; a part of train if empty.", default=""
    )
    test_split: str = _field("tfds slice that the final scores are computed on.", default="")
    download: bool = _field("Download and prepare a tfds set.", default=False, where=True)
    skip_corrupt: bool = _field("Leave unreadable images out and count them.", default=False)
    max_pixels: int = _field(
        "Refuse images that have more pixels by their header (skip_corrupt leaves them out).",
        default=MAX_PIXELS,
    )
    image_size: int = _field(
        "Side of the square input in pixels; 0 is that of the set's images, or 224.", default=0
    )
    train_image_size: tuple = _field(
        "Side of the training images if another: 176, or by epoch 128,6:160,12:192; else empty.",
        default=(),
    )
    augment: tuple = _field(
        "Training augmentation, comma-separated: pad_crop:padding=4,flip:p=0.5.", default=()
    )
    mix: tuple = _field(
        "Mixing of training batches, comma-separated: mixup:alpha=0.2,cutmix:p=0.5.", default=()
    )
    repeats: int = _field(
        "Times an epoch shows an image; it shows so many times fewer images.", default=1
    )
    batch_size: int = _field("Images in a step, over all replicas.", default=128)
    epochs: int = _field("Epochs in all. A larger number extends a finished run.", default=100)
    steps_per_epoch: int = _field("Steps in an epoch; 0 is every full batch once.", default=0)
    lr: float = _field("Highest learning rate, for a step on the global batch.", default=0.1)
    backbone_lr: float = _field(
        "Factor of the rate for all but the classifier, for fine-tuning.", default=1.0
    )
    schedule: str = _field("How the learning rate changes.", default="piecewise", choices=SCHEDULES)
    schedule_epochs: int = _field(
        "one_cycle, cosine, polynomial: epochs until the last rate, if more than --epochs; "
        "0 is --epochs, and the run cannot be made longer.",
        default=0,
    )
    boundaries: tuple = _field(
        "piecewise: epochs after which the rate is multiplied, comma-separated.", default=()
    )
    decay_factor: float = _field(
        "piecewise, exponential: what the rate is multiplied with.", default=0.1
    )
    decay_epochs: float = _field(
        "exponential: epochs in which the rate is multiplied once.", default=0.0
    )
    staircase: bool = _field("exponential: at their ends, not in between.", default=False)
    lr_end: float = _field("one_cycle, cosine, polynomial: the last rate.", default=0.0)
    power: float = _field("polynomial: the power; 1 is a line.", default=1.0)
    warmup_epochs: float = _field("Epochs of linear warm-up.", default=0.0)
    warmup_steps: int = _field("Updates of linear warm-up, instead of epochs.", default=0)
    warmup_lr: float = _field(
        "Rate of the first step of the warm-up; 0 is the schedule's way to begin.", default=0.0
    )
    optimizer: str = _field(
        "What makes updates of gradients.", default="sgd", choices=tuple(OPTIMIZERS)
    )
    momentum: float = _field("Momentum of SGD.", default=0.9)
    momentum_form: str = _field(
        "sgd: the rate inside the velocity (keras, Caffe) or outside (torch).",
        default="keras",
        choices=MOMENTUM_FORMS,
    )
    nesterov: bool = _field("Nesterov's momentum.", default=False)
    beta_1: float = _field("lamb, adamw: share of the old mean of gradients.", default=0.9)
    beta_2: float = _field("lamb, adamw: share of the old mean of their squares.", default=0.999)
    epsilon: float = _field(
        "lamb, adamw: what is added to the root. Defaults to their own, 1e-6 and 1e-8.",
        default=None,
    )
    weight_decay: float = _field(
        "The papers' number: L2 decay in SGD's gradient, in LAMB's step, beside AdamW's.",
        default=1e-4,
    )
    decay: str = _field(
        "Which variables decay; no_1d leaves out batch norm's and biases. Defaults to the "
        "optimizer's own: no_1d for lamb, all for others.",
        default=None,
        choices=DECAYS,
    )
    clip_norm: float = _field(
        "Most that the norm of all gradients may be; 0 is no limit. Defaults to the optimizer's "
        "own: 1 for lamb, 0 for others.",
        default=None,
    )
    accumulate_steps: int = _field(
        "Steps whose gradients are averaged for one update.", default=1
    )
    ema_decay: float = _field(
        "Share of the old average that an update of the averaged weights keeps; 0 is none.",
        default=0.0,
    )
    loss: str = _field(
        "Cross-entropy of the softmax, or of each class's sigmoid.",
        default="cross_entropy",
        choices=LOSSES,
    )
    target_threshold: float = _field(
        "binary_cross_entropy: labels above it become 1, others 0; 0 leaves them.", default=0.0
    )
    class_weight: str = _field(
        "balanced: every class counts the same in the loss, however few its images.",
        default="",
        choices=CLASS_WEIGHTS,
    )
    label_smoothing: float = _field(
        "Share of each label that is spread over all classes.", default=0.0
    )
    precision: str = _field("Keras dtype policy.", default="float32", choices=PRECISIONS)
    strategy: str = _field(
        "How devices are used; auto mirrors if there are several, on all hosts of a cluster.",
        default="auto",
        choices=STRATEGIES,
    )
    logical_devices: int = _field("Devices that the CPU is split into.", default=1)
    checkpoint_minutes: float = _field(
        "Minutes between checkpoints within an epoch; 0 is never.", default=10.0, where=True
    )
    checkpoint_steps: int = _field(
        "Steps of the run between checkpoints within an epoch; 0 is never.", default=0, where=True
    )
    log_gradients: int = _field(
        "Epochs between two rows of gradients.csv (norms by layer, TensorBoard too); 0 is never.",
        default=0,
        where=True,
    )
    seed: int = _field("Seed of weights, order, augmentation and dropout.", default=0)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = as_type(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self._must("optimizer", self.optimizer in OPTIMIZERS, f"one of {tuple(OPTIMIZERS)}")
        own = {name: own_value(self.optimizer, name) for name in OF_THE_OPTIMIZER}
        for name, value in own.items():  # as numbers, so that a run keeps them
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for field in dataclasses.fields(self):
            choices = field.metadata.get("choices")
            if choices:
                value = getattr(self, field.name)
                self._must(field.name, value in choices, f"one of {choices}")
        self._check_ranges()
        if own["epsilon"] is None:  # SGD has none, whatever recipes of earlier versions say
            object.__setattr__(self, "epsilon", None)
        check_schedule(self, self.lr)
        parse_sizes(self.train_image_size)
        self.model_options()
        check_operations(self, lost=True)

    def _check_ranges(self):
        for name, low in (
            ("batch_size", 1),
            ("epochs", 1),
            ("steps_per_epoch", 0),
            ("image_size", 0),
            ("max_pixels", 1),
            ("repeats", 1),
            ("log_gradients", 0),
            ("checkpoint_steps", 0),
            ("schedule_epochs", 0),
            ("warmup_steps", 0),
            ("accumulate_steps", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            self._must(name, low <= value < 2**31, f"at least {low} and below 2**31")
        is_split = 1 <= self.logical_devices <= MOST_DEVICES
        self._must("logical_devices", is_split, f"in 1..{MOST_DEVICES}")
        self._must("lr", 0 < self.lr < math.inf, "above 0 and finite")
        for name in ("momentum", "beta_1", "beta_2", "ema_decay", "label_smoothing"):
            self._must(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        for name in ("weight_decay", "clip_norm", "checkpoint_minutes"):
            self._must(name, 0 <= getattr(self, name) < math.inf, "at least 0 and finite")
        self._must("backbone_lr", 0 < self.backbone_lr <= 1, "in (0, 1]")
        is_legal = self.epsilon is None or 0 < self.epsilon < math.inf
        self._must("epsilon", is_legal, "above 0 and finite")
        self._must("target_threshold", 0 <= self.target_threshold < 1, "in [0, 1)")
        if self.optimizer != "sgd":
            with_it = f"with optimizer={self.optimizer!r}"
            self._must("nesterov", not self.nesterov, f"False {with_it}")
            self._must("momentum_form", self.momentum_form == "keras", f"'keras' {with_it}")
        if self.loss != "binary_cross_entropy":
            legal = f"0 with loss={self.loss!r}"
            self._must("target_threshold", self.target_threshold == 0, legal)

    def _must(self, name, is_legal, legal):
        if not is_legal:
            raise UserError(f"`{name}` must be {legal}. Received: {name}={getattr(self, name)!r}")

    def model_options(self):
        """The builder's options as a dictionary; values are Python literals, or else strings.

        Raises:
            UserError: If an entry is not key=value, comes twice, or is for training to decide.
        """
        options = parse_options(self.option)
        for key in RESERVED_OPTIONS:
            if key in options:
                raise UserError(
                    f"`option` must not set {key!r}: training does, from its own flags and the "
                    f"data. Received: option='{key}={options[key]}'"
                )
        return options

    def flag_lines(self):
        """The recipe as lines of a flagfile."""
        return flag_lines(self)

    def to_json(self):
        """The recipe as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path):
        """Reads the recipe.json of a run.

        Raises:
            UserError: If the file is not a recipe of this version.
        """
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a recipe: {error}") from None
