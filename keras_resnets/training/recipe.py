"""The recipe of a run: every number that decides its result, and its default."""

import ast
import dataclasses
import json
import math
from pathlib import Path

from keras_resnets.data import parse_augment
from keras_resnets.errors import UserError
from keras_resnets.training.distribution import STRATEGIES
from keras_resnets.training.optimizer import DECAYS
from keras_resnets.training.schedules import SCHEDULES, check_boundaries

PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
# What training itself decides, or what its loss on logits rules out.
RESERVED_OPTIONS = ("num_classes", "input_shape", "include_top", "classifier_activation")


def _field(help, default=dataclasses.MISSING, **metadata):  # noqa: A002
    return dataclasses.field(default=default, metadata={"help": help, **metadata})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One field for each flag of scripts/train.py, whose help is the field's metadata.

    `where` marks the fields that say where things are, not what is computed: they may change when
    a run goes on.

    Raises:
        UserError: If a value is out of its range.
    """

    model: str = _field("Registry name of the network: `python scripts/models.py` lists them.")
    option: tuple = _field(
        "Option of the builder, key=value; repeatable.", default=(), repeatable=True
    )
    dataset: str = _field("A tfds name, `digits`, or a folder of class folders.")
    data_dir: str = _field("Folder of prepared tfds sets.", default="", where=True)
    train_split: str = _field("tfds slice to train on, such as train[:45000].", default="")
    validation_split: str = _field(
        "tfds slice to choose best.keras on; a part of train if empty.", default=""
    )
    test_split: str = _field("tfds slice for the last lines.", default="")
    download: bool = _field("Download and prepare a tfds set.", default=False, where=True)
    skip_corrupt: bool = _field("Leave unreadable images out and count them.", default=False)
    image_size: int = _field(
        "Side of the square input in pixels; 0 is that of the set's images, or 224.", default=0
    )
    augment: tuple = _field(
        "Training augmentation, comma-separated: pad_crop:padding=4,flip:p=0.5.", default=()
    )
    batch_size: int = _field("Images in a step, over all replicas.", default=128)
    epochs: int = _field("Epochs in all. A larger number extends a finished run.", default=100)
    steps_per_epoch: int = _field("Steps in an epoch; 0 is every full batch once.", default=0)
    lr: float = _field("Highest learning rate, for the global batch.", default=0.1)
    schedule: str = _field("Course of the rate.", default="piecewise", choices=SCHEDULES)
    boundaries: tuple = _field(
        "piecewise: epochs after which the rate is multiplied, comma-separated.", default=()
    )
    decay_factor: float = _field("piecewise: what the rate is multiplied with.", default=0.1)
    warmup_epochs: float = _field("Epochs of linear warm-up.", default=0.0)
    momentum: float = _field("Momentum of SGD.", default=0.9)
    nesterov: bool = _field("Nesterov's momentum.", default=False)
    weight_decay: float = _field("L2 decay in the gradient, the papers' number.", default=1e-4)
    decay: str = _field("Which variables decay.", default="all", choices=DECAYS)
    label_smoothing: float = _field("Share of the label given to all classes.", default=0.0)
    precision: str = _field("Keras dtype policy.", default="float32", choices=PRECISIONS)
    strategy: str = _field(
        "auto mirrors when there are several devices.", default="auto", choices=STRATEGIES
    )
    logical_devices: int = _field("Devices that the CPU is split into.", default=1)
    seed: int = _field("Of weights, order, augmentation and dropout.", default=0)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if field.type is tuple:
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        object.__setattr__(self, "boundaries", _floats("boundaries", self.boundaries))
        for field in dataclasses.fields(self):
            choices = field.metadata.get("choices")
            if choices:
                value = getattr(self, field.name)
                self._must(field.name, value in choices, f"one of {choices}")
        self._check_ranges()
        if self.schedule == "piecewise":
            check_boundaries(self.boundaries)
        else:
            self._must("boundaries", not self.boundaries, "empty with schedule='one_cycle'")
        self.model_options()
        parse_augment(self.augment)

    def _check_ranges(self):
        for name, low in (
            ("batch_size", 1),
            ("epochs", 1),
            ("steps_per_epoch", 0),
            ("image_size", 0),
            ("logical_devices", 1),
            ("seed", 0),
        ):
            self._must(name, getattr(self, name) >= low, f"at least {low}")
        self._must("seed", self.seed < 2**31, "below 2**31")
        self._must("lr", 0 < self.lr < math.inf, "above 0")
        self._must("decay_factor", 0 < self.decay_factor <= 1, "in (0, 1]")
        self._must("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._must("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0")
        self._must("label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)")
        legal = f"at least 0 and below `epochs`={self.epochs}"
        self._must("warmup_epochs", 0 <= self.warmup_epochs < self.epochs, legal)

    def _must(self, name, is_legal, legal):
        if not is_legal:
            raise UserError(f"`{name}` must be {legal}. Received: {name}={getattr(self, name)!r}")

    def model_options(self):
        """The builder's options as a dictionary; values are Python literals, or else strings.

        Raises:
            UserError: If an entry is not key=value, comes twice, or is for training to decide.
        """
        options = {}
        for entry in self.option:
            key, equals, text = entry.partition("=")
            key = key.strip()
            self._must("option", equals and key.isidentifier(), "key=value")
            self._must("option", key not in options, f"given once for each key ({key!r} is not)")
            if key in RESERVED_OPTIONS:
                raise UserError(
                    f"`option` must not set {key!r}: training does, from the data and "
                    f"`image_size`. Received: option={entry!r}"
                )
            options[key] = _literal(text.strip())
        return options

    def flag_lines(self):
        """The recipe as lines of a flagfile."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("repeatable"):
                lines += [f"--{field.name}={entry}" for entry in value]
            elif field.type is tuple:
                entries = (str(v).removesuffix(".0") for v in value)
                lines.append(f"--{field.name}={','.join(entries)}")
            elif field.type is bool:
                lines.append(f"--{field.name}={str(value).lower()}")
            else:
                lines.append(f"--{field.name}={value}")
        return lines

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


def _literal(text):
    """A Python literal (true, false and none in any case), or else the text itself."""
    word = text.capitalize()
    try:
        return ast.literal_eval(word if word in ("True", "False", "None") else text)
    except (ValueError, SyntaxError):
        return text


def _floats(name, values):
    try:
        return tuple(float(value) for value in values)
    except ValueError:
        raise UserError(
            f"`{name}` must be numbers. Received: {name}={','.join(map(str, values))}"
        ) from None
