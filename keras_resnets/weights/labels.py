"""Names of classes that published weights have, and what images they take."""

import functools
import json
import pathlib

from keras_resnets.images import Preprocessing

_HERE = pathlib.Path(__file__).parent
_OF_CIFAR = ("akamaster", "kuangliu", "weiaicunzai")
_CIFAR_SIZE, _IMAGENET_SIZE = (32, 32), (224, 224)


@functools.cache
def _listed(name):
    return tuple((_HERE / "classes" / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def class_names(dialect, outputs):
    """The names of the classes of a dialect's published networks, in the order of the outputs.

    Args:
        dialect: `Dialect`.
        outputs: Int.

    Returns:
        Tuple of strings, or `None` if networks of so many outputs are none of the published ones.
    """
    if dialect.name in _OF_CIFAR:
        return {10: _listed("cifar10"), 100: _listed("cifar100")}.get(outputs)
    return _listed("imagenet") if outputs == 1000 and dialect.mean else None


def preprocessing(network, dialect, carried=None, named=None, path=None):
    """What a network's images go through, by the first of these that says it.

    Args:
        network: `Network`, for its sides and channels.
        dialect: `Dialect`.
        carried: Dictionary, the `Preprocessing` that the file itself holds, or `None`.
        named: `NamedWeights` or `None`.
        path: Path of the file, beside which timm's `config.json` may lie, or `None`.

    Returns:
        `Preprocessing` for the network's channels, or `None` if nothing is known.
    """
    *sides, channels = network.input_shape[1:]
    beside = _beside(path) or {}
    found = Preprocessing(**carried) if carried else _published(dialect, named, beside)
    if found is None:
        return None
    size = found.crop or found.resize
    if None not in sides and isinstance(size, tuple) and size != tuple(sides):
        found = found.for_size(tuple(sides))
    return found.for_channels(channels)


def _published(dialect, named, beside):
    mean, std = beside.get("mean", dialect.mean), beside.get("std", dialect.std)
    if not mean:
        return None
    share = beside.get("crop_pct", dialect.resize_share)
    interpolation = beside.get("interpolation", dialect.interpolation)
    if named:
        share, interpolation = named.crop / named.resize, named.interpolation
    if not share:
        return Preprocessing(mean, std, resize=_CIFAR_SIZE, interpolation=interpolation)
    resize = int(min(_IMAGENET_SIZE) / share + 1e-6)  # truncated, as timm
    return Preprocessing(mean, std, resize, crop=_IMAGENET_SIZE, interpolation=interpolation)


def _beside(path):
    """What timm writes beside a file of weights about its images, or `None`."""
    place = path and pathlib.Path(path).parent / "config.json"
    if not place or not place.is_file():
        return None
    try:
        found = json.loads(place.read_text(encoding="utf-8")).get("pretrained_cfg")
    except (ValueError, AttributeError, OSError):
        return None
    return found if isinstance(found, dict) and found.get("mean") else None
