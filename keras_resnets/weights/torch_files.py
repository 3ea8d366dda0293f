"""Files of `torch.save`, read without torch and without running what they name.

Such a file is a pickle whose tensors lie beside it: in a zip archive (torch 1.6 and later), or one
after the other behind it (before). A pickle may name any function of Python and have it called.
Here tensors are built, a few harmless names become inert data, and any other name is refused.
"""

import collections
import dataclasses
import functools
import math
import os
import pickle
import sys
import zipfile

import ml_dtypes
import numpy as np

from keras_resnets.errors import UserError
from keras_resnets.weights.tensors import Tensor

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "double": np.float64,
    "float": np.float32,
    "half": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "long": np.int64,
    "int": np.int32,
    "short": np.int16,
    "char": np.int8,
    "byte": np.uint8,
    "bool": np.bool_,
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint8": np.uint8,
}
_DTYPES = {name: np.dtype(kind) for name, kind in _DTYPES.items()}
_STORAGES = {
    name: _DTYPES[name.removesuffix("Storage").lower()]
    for name in (
        *("DoubleStorage", "FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage"),
        *("IntStorage", "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage"),
    )
} | {"UntypedStorage": np.dtype(np.uint8)}


# The names of the same in .safetensors files.
_SAFE = {"F64": "double", "F32": "float", "F16": "half", "BF16": "bfloat16", "I64": "long"}


def dtype_of(safe_name):
    """NumPy's dtype of a .safetensors file's; `void` for those that no weights have."""
    return _DTYPES.get(_SAFE.get(safe_name), np.dtype("V1"))


class Inert:
    """Stands for an object of a class that is known and of no use here; it only holds data."""

    def __init__(self, *args, **kwargs):
        self.args, self.state = args, None


@dataclasses.dataclass(frozen=True)
class _Storage:
    """Numbers in the file: `read(first, count)` bytes of them."""

    dtype: np.dtype
    size: int  # in bytes
    read: object


def _rebuild(storage, offset, shape, strides, dtype=None):
    """A `Tensor` over a storage; what would reach beyond it is refused."""
    sound = isinstance(storage, _Storage) and isinstance(shape, tuple)
    numbers = (offset, *shape, *strides) if sound else (-1,)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise UserError("it has a tensor of no legal shape")
    dtype = dtype or storage.dtype
    last = sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    count = 0 if 0 in shape else last + 1
    if (offset + count) * dtype.itemsize > storage.size or math.prod(shape) > max(count, 1) * 64:
        raise UserError("it has a tensor that reaches beyond its numbers")

    def read():
        data = storage.read(offset * dtype.itemsize, count * dtype.itemsize)
        flat = np.frombuffer(data, dtype)
        steps = [stride * dtype.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(flat, shape, steps) if count else np.empty(
            shape, dtype
        )

    return Tensor(shape, dtype, read)


def _rebuild_v2(storage, offset, shape, strides, *_):
    return _rebuild(storage, offset, tuple(shape), tuple(strides))


def _rebuild_v3(storage, offset, shape, strides, requires_grad, hooks, dtype, *_):
    return _rebuild(storage, offset, tuple(shape), tuple(strides), dtype)


def _rebuild_parameter(tensor, *_):
    return tensor


def _encode(text, encoding="latin1"):
    return text.encode("latin1")  # how protocol 2 holds the bytes of NumPy's scalars


_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_HARMLESS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "Counter"): dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_v2,  # of torch 0.3
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch.serialization", "_get_layout"): Inert,
    ("torch", "Size"): tuple,
    ("torch", "device"): Inert,
    ("torch.storage", "UntypedStorage"): _STORAGES["UntypedStorage"],
    ("argparse", "Namespace"): Inert,
    ("_codecs", "encode"): _encode,
    **{("torch", name): dtype for name, dtype in (*_STORAGES.items(), *_DTYPES.items())},
    **{(module, name): Inert for module in _NUMPY for name in ("scalar", "dtype")},
}


class _Unpickler(pickle._Unpickler):  # the one in Python, whose every step can be decided on
    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file, storage):
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def load_build(self):
        """Sets an object's state: only of what is inert, never of a function or a class."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, collections.OrderedDict):
            raise UserError(f"it sets attributes of a {type(target).__name__}, which is refused")

    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module, name):
        known = _HARMLESS.get((module, name))
        if known is None and _is_numpy_kind(module, name):
            known = Inert
        if known is None:
            hint = ""
            if module.split(".")[0] == "torch" or "models" in module:
                hint = "; save the model's state_dict() instead of the model"
            raise UserError(
                f"it asks to run {module}.{name}, which is neither a tensor nor plain data, and "
                f"was not run{hint}"
            )
        return known

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise UserError("it refers to something other than a tensor's numbers")
        _, dtype, key, _, count, *_ = pid
        if not isinstance(dtype, np.dtype) or type(count) is not int or count < 0:
            raise UserError("it has numbers of an unknown kind")
        return self._storage(dtype, str(key), count)


def _is_numpy_kind(module, name):
    """Whether a name is that of a class of NumPy's scalars or of their dtypes."""
    if module == "numpy.dtypes":
        return name.endswith("DType")
    kind = getattr(np, name, None) if module == "numpy" else None
    return isinstance(kind, type) and issubclass(kind, np.generic)


def read(path):
    """What `torch.save` was given, with a `Tensor` in place of each tensor.

    Args:
        path: String, a file in the zip or in the legacy form.

    Returns:
        Whatever the file holds, most often a dictionary.

    Raises:
        UserError: In words that follow the file's name, if it is damaged or names what is not
            harmless data.
    """
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        return _read_legacy(path)
    except UserError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to say
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"it is truncated or damaged ({type(error).__name__})") from None


def _read_zip(path):
    with zipfile.ZipFile(path) as archive:
        members = {name.partition("/")[2]: name for name in archive.namelist()}
        if "data.pkl" not in members:
            raise UserError("it is a zip archive without data.pkl, as torch.save writes it")
        order = "little"
        if "byteorder" in members:
            order = archive.read(members["byteorder"]).decode()
        if order != sys.byteorder:
            raise UserError(f"its numbers are in {order}-endian order")
        sizes = {name: archive.getinfo(full).file_size for name, full in members.items()}

        def storage(dtype, key, count):
            member = f"data/{key}"
            size = count * dtype.itemsize
            if sizes.get(member, -1) < size:
                raise UserError(f"it is truncated: the numbers {member} are missing")
            return _Storage(dtype, size, functools.partial(_zip_bytes, path, members[member]))

        with archive.open(members["data.pkl"]) as file:
            return _Unpickler(file, storage).load()


def _zip_bytes(path, member, first, count):
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        file.seek(first)
        return _all_of(file, count)


def _all_of(file, count):
    data = file.read(count)
    if len(data) != count:
        raise UserError("it is truncated")
    return data


def _read_legacy(path):
    places, size = {}, os.path.getsize(path)

    def storage(dtype, key, count):
        def read_bytes(first, length):
            with open(path, "rb") as file:
                file.seek(places[key] + first)
                return _all_of(file, length)

        asked[key] = count * dtype.itemsize
        sizes[key] = dtype.itemsize
        return _Storage(dtype, asked[key], read_bytes)

    asked, sizes = {}, {}
    with open(path, "rb") as file:
        start = file.read(2)
        file.seek(0)
        if start[:1] != b"\x80":
            raise UserError("it is no file of torch.save" + _what_it_is(path))
        if _plain(file) != _LEGACY_MAGIC:
            raise UserError("it is a pickle, but none of torch.save")
        _plain(file), _plain(file)  # the protocol's version, and sizes of C types
        content = _Unpickler(file, storage).load()
        for key in _plain(file):
            count = int.from_bytes(_all_of(file, 8), sys.byteorder)
            places[str(key)] = file.tell()
            file.seek(count * sizes.get(str(key), 1), os.SEEK_CUR)
        is_short = file.tell() > size or any(key not in places for key in asked)
    if is_short:
        raise UserError("it is truncated: numbers of its tensors are missing")
    return content


def _plain(file):
    """A pickle of plain data, which may name nothing."""

    def none(*_):
        raise UserError("it refers to tensors where none can be")

    return _Unpickler(file, none).load()


def _what_it_is(path):
    with open(path, "rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return " but a web page: the download failed, fetch it again"
    return " but empty" if not start else ""
