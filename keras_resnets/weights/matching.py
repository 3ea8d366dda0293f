"""A network and a checkpoint side by side: what fits, what does not, and what is taken over."""

import collections
import dataclasses
import re

import numpy as np

from keras_resnets.errors import UserError
from keras_resnets.weights.dialect import BATCH_COUNTER
from keras_resnets.weights.tensors import FLOATS

_MOST = 10  # names that an error lists
_HEAD = "logits"
_STEM = "stem_conv"


@dataclasses.dataclass(frozen=True)
class _Match:
    """How the tensors of a file stand to the variables of a network.

    Attributes:
        taken: List of pairs `(Slot, Tensor)`.
        missing: List of names that the file lacks.
        extra: List of names that the network has no place for.
        wrong: List of names with their shapes.
        notes: List of strings, what is not taken over as it stands.
    """

    taken: list
    missing: list
    extra: list
    wrong: list
    notes: list

    def __str__(self):
        """The differences in words, with at most ten names of a kind; empty without any."""
        kinds = {
            "missing": self.missing,
            "left over": self.extra,
            "of other shapes": self.wrong,
        }
        return "; ".join(
            f"{len(names)} tensors {kind}: {_some(names)}" for kind, names in kinds.items() if names
        )


def differences(network, checkpoint, dialect):
    """Which tensors do not fit, in words; empty if all do, or if the dialect lacks a layer."""
    try:
        return str(_match(network, checkpoint, dialect))
    except UserError as error:
        return str(error)


def fill(network, checkpoint, dialect):
    """Gives a network the weights of a checkpoint; all or none.

    Args:
        network: `Network`.
        checkpoint: `Checkpoint`.
        dialect: `Dialect` of its names.

    Returns:
        List of strings: what was not taken over as it stands.

    Raises:
        UserError: If a tensor is missing, left over, of another shape, of no floating type or not
            finite. The network is then as it was.
    """
    match = _match(network, checkpoint, dialect)
    if str(match):
        raise UserError(f"{checkpoint.path} does not fit {network.name}: {match}")
    values = [_read(checkpoint, slot, tensor) for slot, tensor in match.taken]
    for (slot, _), value in zip(match.taken, values, strict=True):
        slot.variable.assign(value)
    return match.notes


def _match(network, checkpoint, dialect):
    tensors, slots = dialect.prepare(checkpoint.tensors), dialect.table(network)
    match, classes = _Match([], [], [], [], []), None
    wanted = {slot.key for slot in slots}
    has_head = any(slot.layer.name == _HEAD for slot in slots)
    for key in tensors:
        of_head = key.rpartition(dialect.separator)[0] == dialect.ends[_HEAD]
        is_counter = key.endswith(BATCH_COUNTER)
        if key not in wanted and not is_counter and (has_head or not of_head):
            match.extra.append(key)
    for slot in slots:
        tensor = tensors.get(slot.key)
        if tensor is None:
            match.missing.append(slot.key)
            continue
        there, here = _shape_here(slot, tensor), tuple(slot.variable.shape)
        of_stem = slot.layer.name == _STEM and len(there) == 4
        if there == here:
            match.taken.append((slot, tensor))
        elif slot.layer.name == _HEAD and there[:-1] == here[:-1]:
            classes = there[-1]
        elif of_stem and there[:2] + there[3:] == here[:2] + here[3:]:
            match.notes.append(
                f"images of {there[2]} channels there, {here[2]} here: the stem is adapted"
            )
            match.taken.append((slot, tensor))
        else:
            match.wrong.append(f"{slot.key} {tensor.shape} instead of {slot.shape}")
    if classes is not None:
        match.notes.append(
            f"{classes} classes there, {network.output_shape[-1]} here: the classifier starts anew"
        )
    return match


def _shape_here(slot, tensor):
    """The shape that a tensor has here."""
    if len(tensor.shape) != len(slot.shape):
        return tensor.shape
    return slot.take(np.broadcast_to(np.float32(0), tensor.shape)).shape


def adapt_channels(kernel, channels):
    """A first convolution's kernel for images of other channels, by timm's rule.

    One channel gets the sum over the old ones; more repeat them in turn, scaled so that equal
    channels give what they gave.

    Args:
        kernel: Array `(height, width, old channels, filters)`.
        channels: Int.

    Returns:
        Array `(height, width, channels, filters)`.
    """
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return kernel[:, :, np.arange(channels) % old] * np.float32(old / channels)


def _read(checkpoint, slot, tensor):
    """The values of a variable."""
    if tensor.dtype not in FLOATS:
        raise UserError(
            f"Cannot take {checkpoint.path}: {slot.key} holds {tensor.dtype}, not numbers with a "
            "fraction"
        )
    value = tensor.as_float32()
    if not np.isfinite(value).all():
        raise UserError(f"Cannot take {checkpoint.path}: {slot.key} is not finite (NaN or inf)")
    value = slot.take(value)
    if value.shape != tuple(slot.variable.shape):
        value = adapt_channels(value, slot.variable.shape[2])
    return np.ascontiguousarray(value)


def _some(names):
    """At most ten names, of as many layers as there are."""
    layers = collections.defaultdict(list)
    for name in names:
        layers[re.split(r"[./](?=\w+(?: |$))", name)[0]].append(name)
    firsts = [group[0] for group in layers.values()]
    rest = [name for group in layers.values() for name in group[1:]]
    chosen = [*firsts, *rest][:_MOST]
    return ", ".join(chosen) + (", ..." if len(names) > _MOST else "")
