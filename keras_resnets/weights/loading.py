"""Weights of others into networks of ours."""

import dataclasses
import os

from keras_resnets.errors import UserError
from keras_resnets.models import registry
from keras_resnets.models.files import load_model
from keras_resnets.weights import files, named
from keras_resnets.weights.guessing import best_builder
from keras_resnets.weights.keras_applications import APPLICATIONS
from keras_resnets.weights.labels import class_names, preprocessing
from keras_resnets.weights.matching import differences, fill
from keras_resnets.weights.own import OWN
from keras_resnets.weights.pytorch_cifar import AKAMASTER, KUANGLIU, WEIAICUNZAI
from keras_resnets.weights.timm import DPN, DPN_B, RESNETV2
from keras_resnets.weights.torchvision import TORCHVISION

DIALECTS = (
    OWN, TORCHVISION, AKAMASTER, KUANGLIU, WEIAICUNZAI, DPN, DPN_B, RESNETV2, APPLICATIONS
)
# Strides become dilation without another weight, as torchvision's own nets let choose.
_FREE = ("output_stride", "replace_stride_with_dilation")


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """A checkpoint with what is known of it."""

    checkpoint: files.Checkpoint
    dialect: object
    description: object  # a `Description`, or `None` if no network here is known to be its
    named: object = None  # the `NamedWeights` that it was asked for as

    @property
    def is_ours(self):
        """Whether the file itself names the network, by a name of this package."""
        return "registry_name" in (self.checkpoint.network or {})

    @property
    def title(self):
        """Which network it is of: `"ResNet50 in torchvision's names"`."""
        if self.description is None:
            return f"a network in {self.dialect.name}'s names that has no counterpart here"
        builder = best_builder(self.description.family, self.description.options)
        return f"{builder.__name__} in {self.dialect.name}'s names"


def load(network, source):
    """Loads weights of others, or our own, into a network.

    Class names and preprocessing come with them where the network has none and the classes are as
    many.

    Args:
        network: `Network`.
        source: String or path of a file (see `weights.files.read`), or the name of a set that the
            network has (`"IMAGENET1K_V2"`, see `weights.named`).

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If the file is damaged, of another or of a differently wired network (the layers
            that differ are named), or has weights that are not finite. The network is then as it
            was.
        OSError: If a named set can be neither found nor fetched.
    """
    found = _open(source, network.registry_name)
    if found.description:
        _check_wiring(network, found)
    elif found.dialect is not OWN:
        _check_options(network, found)
    _fill(network, found)


def open_network(source):
    """Opens a file of weights as a network: family and options are found by names and shapes.

    Args:
        source: String or path of a file (see `weights.files.read`).

    Returns:
        `Network` with the file's outputs, preprocessing and class names.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If it is damaged, or of no network that is known here.
    """
    found = _open(source, None, whole=True)
    if found.is_ours and found.checkpoint.path.endswith(".keras"):
        return load_model(found.checkpoint.path)
    if found.description is None:
        raise UserError(
            f"{found.checkpoint.path} is of {found.title}; build the nearest and try weights.load"
        )
    if found.is_ours:
        builder = registry.find(found.checkpoint.network["registry_name"])
    else:
        builder = best_builder(found.description.family, found.description.options)
    return _build(builder, {}, found, with_top=bool(found.description.classes))


def build(builder, given, source):
    """What `ResNet50(weights=source, **given)` does.

    Options that are not given are those of the file's network.
    """
    found = _open(source, builder.registry_name)
    if found.description is None:
        network = builder(**given)
        load(network, source)
        return network
    return _build(builder, given, found)


def locate(source, model=None):
    """Finds weights, and fetches them where they are asked for by name and not there yet.

    Args:
        source: String or path of a file, or the name of a set.
        model: String, the registry name of the network, which decides what a name means.

    Returns:
        The path, and the `NamedWeights` or `None`.

    Raises:
        FileNotFoundError: If there is no such file.
        UserError: If the network has no set of that name.
        OSError: If a set can be neither found nor fetched.
    """
    if not isinstance(source, str | os.PathLike):
        raise UserError(
            f"`weights` must be a path or a name, or None. Received: weights={source!r}"
        )
    if not named.is_name(source):
        if not os.path.exists(source):
            raise FileNotFoundError(f"There is no file of weights {os.fspath(source)}")
        return os.fspath(source), None
    found = named.find(source, model)
    path = os.fspath(named.fetch(found))
    return path, found if isinstance(found, named.NamedWeights) else None


def _open(source, model, whole=False):
    path, set_ = locate(source, model)
    checkpoint = files.read(path)
    dialect = _dialect_of(checkpoint)
    reason = dialect.refuse(checkpoint.tensors)
    if reason:
        raise UserError(f"Cannot take {checkpoint.path}: {reason}")
    edited = (checkpoint.network or {}).get("edits")
    if edited and not whole:
        raise UserError(
            f"{checkpoint.path} has layers whose settings were changed after they were built, such "
            f"as {min(edited)}: take it whole with load_model, and another head with "
            "reset_classifier"
        )
    return _Source(checkpoint, dialect, dialect.describe(dialect, checkpoint), set_)


def _dialect_of(checkpoint):
    """The dialect that explains most names, and of equals the one that knows the network."""
    fitting = [dialect for dialect in DIALECTS if dialect.fits(checkpoint)]
    if fitting:
        return max(
            fitting,
            key=lambda dialect: (
                dialect.explained(checkpoint.tensors),
                dialect.describe(dialect, checkpoint) is not None,
            ),
        )
    names = ", ".join(list(checkpoint.tensors)[:5])
    known = ", ".join(dialect.name for dialect in DIALECTS)
    raise UserError(
        f"{checkpoint.path} has the names of none of {known}. It begins with: {names}"
    )


def _build(builder, given, found, with_top=None):
    description, options = found.description, dict(given)
    known = builder.options.__dataclass_fields__
    described = {key: value for key, value in description.options.items() if key in known}
    is_another = any(described.get(key, value) != value for key, value in builder.fixed.items())
    if builder.fixed and not found.is_ours:  # another variant of the family would fit it too
        is_another |= best_builder(description.family, description.options) is not builder
    if is_another or builder.family != description.family:
        raise UserError(_another(found, builder(**given)))
    options = {k: v for k, v in described.items() if k not in builder.fixed} | options
    if description.classes:
        options.setdefault("num_classes", description.classes)
    elif with_top is False:
        options["include_top"] = False
    if "input_shape" not in given:
        sides = builder.options(**{**options, **builder.fixed}).input_shape[:2]
        options["input_shape"] = (*sides, description.channels)
    network = builder(**options)
    _check_wiring(network, found)
    _fill(network, found)
    return network


def _check_wiring(network, found):
    """Refuses a network that computes something else with the file's weights."""
    differences = wiring_differences(network, found.description)
    if "family" in differences:
        raise UserError(_another(found, network))
    if differences:
        raise UserError(_another(found, network, f", which has {in_words(differences)}"))


def wiring_differences(network, description):
    """What makes a network compute something else than the one that is described.

    Args:
        network: `Network`.
        description: `Description`.

    Returns:
        Dictionary from each option that differs to its values there and here.
    """
    if network.family != description.family:
        return {"family": (description.family, network.family)}
    here = network.wiring
    there = registry.find(network.family).options(**description.options).wiring()
    return {
        key: (there[key], value)
        for key, value in here.items()
        if value != there.get(key, value) and key not in _FREE
    }


def in_words(differences):
    """`"shortcut='A' and not 'B', width=16 and not 8"` of what `wiring_differences` found."""
    return ", ".join(
        f"{key}={there!r} and not {here!r}" for key, (there, here) in differences.items()
    )


def _another(found, network, why=""):
    """The message about a network that the file is not of."""
    differ = differences(network, found.checkpoint, found.dialect)
    return f"{found.checkpoint.path} does not fit {network.name}: it is of {found.title}{why}" + (
        f"; {differ}" if differ else ""
    )


def _check_options(network, found):
    """Refuses a network that differs from what the dialect's code fixes."""
    wiring = network.wiring
    for key, value in found.dialect.options.items():
        if wiring.get(key, value) != value:
            raise UserError(
                f"{found.checkpoint.path} is of {found.dialect.name}, whose networks have "
                f"{key}={value!r}. Received: {network.name} with {key}={wiring[key]!r}"
            )


def _fill(network, found):
    notes = fill(network, found.checkpoint, found.dialect)
    for note in (*found.checkpoint.notes, *notes):
        print(f"{found.checkpoint.path}: {note}")
    carried = found.checkpoint.network or {}
    outputs = network.output_shape[-1]
    theirs = found.description.classes if found.description else outputs
    if network.class_names is None and network.options["include_top"] and theirs == outputs:
        network.class_names = carried.get("class_names") or class_names(found.dialect, outputs)
    if network.preprocessing is None:
        network.preprocessing = preprocessing(
            network,
            found.dialect,
            carried.get("preprocessing"),
            found.named,
            found.checkpoint.path,
        )
