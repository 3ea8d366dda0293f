"""What every kind of checkpoint becomes: named tensors that are read one by one."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from keras_resnets.errors import UserError

FLOATS = tuple(map(np.dtype, (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)))


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a checkpoint, not yet read.

    Attributes:
        shape: Tuple of ints.
        dtype: NumPy dtype in the file.
        read: `read() -> array` of that shape.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    def as_float32(self):
        """The values as a float32 array of `shape`."""
        return np.asarray(self.read()).astype(np.float32).reshape(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file of weights.

    Attributes:
        path: String, for messages.
        tensors: Mapping from the file's names to `Tensor`.
        network: Dictionary that describes the network where the file does (`registry_name`,
            `options`, `preprocessing`, `class_names`), or `None`.
        notes: Tuple of strings, what was taken off around the tensors.
    """

    path: str
    tensors: Mapping[str, Tensor]
    network: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.tensors:
            raise UserError(f"{self.path} holds no tensors")

    def without(self, prefixes):
        """The checkpoint with the names' prefixes taken off, each where all names have it."""
        tensors, notes = self.tensors, self.notes
        while True:
            found = next((p for p in prefixes if all(k.startswith(p) for k in tensors)), None)
            if found is None:
                return dataclasses.replace(self, tensors=tensors, notes=notes)
            tensors = {key.removeprefix(found): tensor for key, tensor in tensors.items()}
            notes = (*notes, f"`{found}` was taken off the names")


def as_tensor(array):
    """An array that is in memory as a `Tensor`."""
    array = np.asarray(array)
    return Tensor(array.shape, array.dtype, lambda: array)
