"""Names of classes that published weights have, and what images they take."""

import functools
import json
import pathlib

from keras_resnets.images import Preprocessing

_HERE = pathlib.Path(__file__).parent
_OF_CIFAR = ("akamaster", "kuangliu", "weiaicunzai")
_CIFAR_SIDE, _IMAGENET_SIDE = 32, 224


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
    if carried:
        return Preprocessing(**carried)
    published = _beside(path) or {}
    mean, std = published.get("mean", dialect.mean), published.get("std", dialect.std)
    if not mean:
        return None
    height, width, channels = network.input_shape[1:]
    share = published.get("crop_pct", dialect.resize_share)
    if getattr(named, "resize", 0):
        share = named.crop / named.resize
    side = _IMAGENET_SIDE if share else _CIFAR_SIDE
    size = (height or side, width or side)
    resize, crop = (int(min(size) / share), size) if share else (size, None)
    interpolation = published.get("interpolation", dialect.interpolation)
    if getattr(named, "resize", 0):
        interpolation = named.interpolation
    return Preprocessing(
        mean=_for_channels(mean, channels),
        std=_for_channels(std, channels),
        resize=resize,
        crop=crop,
        interpolation=interpolation,
    )


def _for_channels(values, channels):
    """Statistics for images of other channels than three: as the stem's kernel is adapted."""
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[place % len(values)] for place in range(channels))


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
