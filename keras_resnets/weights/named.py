"""Sets of trained weights that are asked for by name, and where they are found.

`"cifar10"` comes with the package. The others are torchvision's, trained on ImageNet: file names,
sizes and scores are those of its `models/resnet.py` and `models/_meta.py` (torchvision 0.29). Their
licence is torchvision's BSD-3-Clause as far as its docs go, which say that pre-trained weights may
have terms of their own, by the set that they were trained on.
"""

import dataclasses
import hashlib
import os
import pathlib
import tempfile
import urllib.error
import urllib.request

import keras

from keras_resnets.errors import UserError
from keras_resnets.models.registry import nearest
from keras_resnets.weights.files import SUFFIXES

ADDRESS = "https://download.pytorch.org/models/"
OTHER_ADDRESS = "KERAS_RESNETS_WEIGHTS_URL"  # environment: a mirror's
OTHER_CACHE = "KERAS_RESNETS_CACHE"
_TIMEOUT = 30  # seconds without a byte
_PIECE = 1 << 20
_HERE = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class NamedWeights:
    """A published file of weights.

    Attributes:
        model: String, the registry name of its network.
        name: String.
        file: String, the file's name, with the first 8 hex digits of its SHA-256 before the suffix.
        resize: Int, of the published score: the shorter side in pixels; 0 without resizing.
        crop: Int, in pixels.
        top1: Float, in percent, as published (on ImageNet's 50,000 validation images).
        top5: Float.
        interpolation: String.
    """

    model: str
    name: str
    file: str
    resize: int
    crop: int
    top1: float
    top5: float
    interpolation: str = "bilinear"

    @property
    def digits(self):
        """The first 8 hex digits of the file's SHA-256."""
        return pathlib.Path(self.file).stem.rpartition("-")[2]


_V1, _V2 = "IMAGENET1K_V1", "IMAGENET1K_V2"
SETS = (
    NamedWeights("resnet18", _V1, "resnet18-f37072fd.pth", 256, 224, 69.758, 89.078),
    NamedWeights("resnet34", _V1, "resnet34-b627a593.pth", 256, 224, 73.314, 91.420),
    NamedWeights("resnet50", _V1, "resnet50-0676ba61.pth", 256, 224, 76.130, 92.862),
    NamedWeights("resnet50", _V2, "resnet50-11ad3fa6.pth", 232, 224, 80.858, 95.434),
    NamedWeights("resnet101", _V1, "resnet101-63fe2227.pth", 256, 224, 77.374, 93.546),
    NamedWeights("resnet101", _V2, "resnet101-cd907fc2.pth", 232, 224, 81.886, 95.780),
    NamedWeights("resnet152", _V1, "resnet152-394f9c45.pth", 256, 224, 78.312, 94.046),
    NamedWeights("resnet152", _V2, "resnet152-f82ba261.pth", 232, 224, 82.284, 96.002),
    NamedWeights("resnext50_32x4d", _V1, "resnext50_32x4d-7cdf4587.pth", 256, 224, 77.618, 93.698),
    NamedWeights("resnext50_32x4d", _V2, "resnext50_32x4d-1a0047aa.pth", 232, 224, 81.198, 95.340),
    NamedWeights(
        "resnext101_32x8d", _V1, "resnext101_32x8d-8ba56ff5.pth", 256, 224, 79.312, 94.526
    ),
    NamedWeights(
        "resnext101_32x8d", _V2, "resnext101_32x8d-110c445d.pth", 232, 224, 82.834, 96.228
    ),
    NamedWeights(
        "resnext101_64x4d", _V1, "resnext101_64x4d-173b62eb.pth", 232, 224, 83.246, 96.454
    ),
    NamedWeights("wide_resnet50_2", _V1, "wide_resnet50_2-95faca4d.pth", 256, 224, 78.468, 94.086),
    NamedWeights("wide_resnet50_2", _V2, "wide_resnet50_2-9ba9bcbe.pth", 232, 224, 81.602, 95.758),
    NamedWeights(
        "wide_resnet101_2", _V1, "wide_resnet101_2-32ee1156.pth", 256, 224, 78.848, 94.284
    ),
    NamedWeights(
        "wide_resnet101_2", _V2, "wide_resnet101_2-d733dc28.pth", 232, 224, 82.510, 96.020
    ),
)
_LATEST = ("DEFAULT", "imagenet")  # other names of a network's last set
PACKAGED = {"cifar10": ("resnet20", _HERE / "resnet20_cifar10.safetensors")}


def is_name(source):
    """Whether what was given as weights is the name of a set and not a file's."""
    return (
        isinstance(source, str)
        and os.path.basename(source) == source
        and not source.lower().endswith(SUFFIXES)
        and not os.path.exists(source)
    )


def find(name, model):
    """The set of a name for a network.

    Args:
        name: String, in any case.
        model: String, the network's registry name, or `None`.

    Returns:
        `NamedWeights`, or a path where the file comes with the package.

    Raises:
        UserError: If the network has no such set; those that it has, or the networks that have
            any, are named.
    """
    legal = {s.name: s for s in SETS if s.model == model}
    legal |= {other: s for s in legal.values() for other in _LATEST}
    legal |= {key: path for key, (net, path) in PACKAGED.items() if model in (net, None)}
    found = {key.lower(): value for key, value in legal.items()}.get(name.lower())
    if found is None:
        owners = dict.fromkeys([s.model for s in SETS] + [net for net, _ in PACKAGED.values()])
        has = f"Known are sets of {', '.join(owners)}"
        has = f"{model} has {', '.join(legal)}" if legal else has
        raise UserError(
            f"Unknown weights {name!r}.{nearest(name, legal)} {has}; a file is given by its path"
        )
    return found


def fetch(found):
    """The path of a set's file, which is downloaded unless torch's cache or ours has it.

    Args:
        found: `NamedWeights` or a path, as `find` returns it.

    Returns:
        Path.

    Raises:
        OSError: If it can be neither found nor fetched whole; nothing is left half-written.
    """
    if not isinstance(found, NamedWeights):
        return found
    folders = (torch_cache(), cache())
    for folder in folders:
        path = folder / found.file
        if path.is_file():
            _check(path, found, f"remove it, and it is fetched from {address(found)}")
            return path
    return _download(found, cache() / found.file)


def cache():
    """The folder that sets are downloaded to: `KERAS_RESNETS_CACHE`, or one in ~/.cache."""
    return pathlib.Path(os.environ.get(OTHER_CACHE) or _caches() / "keras_resnets")


def torch_cache():
    """The folder of torch.hub, where torchvision and timm keep the same files."""
    home = os.environ.get("TORCH_HOME")
    return (pathlib.Path(home) if home else _caches() / "torch") / "hub" / "checkpoints"


def _caches():
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")


def address(found):
    """Where a set's file is fetched from."""
    base = os.environ.get(OTHER_ADDRESS) or ADDRESS
    return f"{base.rstrip('/')}/{found.file}"


def _download(found, path):
    url = address(found)
    hint = f"get {url} by other means and put it there"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{found.file}-", dir=path.parent)
    except OSError as error:
        raise OSError(f"Cannot write {path}: {error.strerror}; set {OTHER_CACHE}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            _copy(url, file, path)
        _check(part, found, hint, f"what {url} gave for {path}")
        os.replace(part, path)
    except (urllib.error.URLError, TimeoutError, ConnectionError, EOFError) as error:
        reason = getattr(error, "reason", error)
        raise OSError(f"Cannot fetch {url} to {path}: {reason}; {hint}") from error
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return path


def _copy(url, file, path):
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        print(f"fetching {url} to {path}")
        bar, done = keras.utils.Progbar(size or None, unit_name="byte"), 0
        while piece := answer.read(_PIECE):
            file.write(piece)
            done += len(piece)
            bar.update(done)
        if size and done < size:
            raise EOFError(f"the connection ended after {done} of {size} bytes")


def _check(path, found, hint, what=None):
    with open(path, "rb") as file:
        digits = hashlib.file_digest(file, "sha256").hexdigest()[: len(found.digits)]
    if digits != found.digits:
        raise OSError(
            f"{what or path} is not the published file: its SHA-256 begins with {digits}, not "
            f"{found.digits}; {hint}"
        )
