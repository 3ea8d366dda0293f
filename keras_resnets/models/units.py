"""Residual blocks: the merge of a branch with its shortcut, and the unit that most families use."""

import functools

import keras

from keras_resnets.errors import UserError
from keras_resnets.layers import Merge, SkippingMerge, StochasticMerge
from keras_resnets.models.records import Branch
from keras_resnets.models.stochastic_depth import ALWAYS
from keras_resnets.models.wiring import SKIPS, activate, shortcut_path


def residual(
    shortcut,
    x,
    branch,
    place,
    *,
    net=ALWAYS,
    name=None,
    activation=None,
    gate=None,
    **merge,
):
    """Ends a residual block: `activation(shortcut + branch(x))`.

    It is the only way to merge a branch with its shortcut, and reports it to `place.branches`.

    Args:
        shortcut: Keras tensor `(batch, height, width, channels)`.
        x: Keras tensor that the branch starts from.
        branch: `branch(x) -> tensor` of the shortcut's shape.
        place: `Place` of the block.
        net: `StochasticDepth`, such as the options of the network. Defaults to branches that
            always survive.
        name: String, the name of this branch and its merge, where a block has several. Defaults
            to the block's.
        activation: String or `None`, applied after the addition. Defaults to `None`.
        gate: Keras tensor of the shortcut's shape, or `None`. Defaults to `None`.
        **merge: Further arguments of `Merge`.

    Returns:
        Keras tensor of the shortcut's shape.

    Raises:
        UserError: If a block has two branches of one name, or if a branch that stochastic depth
            may leave out uses another tensor than its argument.
    """
    name = name or place.name
    if any(branch.name == name for branch in place.branches):
        raise UserError(
            f"{place.name} has two branches of one name: give each call of `residual` in a block "
            f"its own. Received: name={name!r}"
        )
    options = {"activation": activation, "name": f"{name}_merge", **merge}
    survival, kind = net.survival_at(place.position), Merge
    if survival < 1:
        kind = StochasticMerge
        options |= {"survival": survival, "draw": net.survival_draw}
        if gate is None and net.survival_draw == "batch":
            nested = _skippable(x, branch, name)
            if nested:
                layer = SkippingMerge(nested, **options)
                y = layer([shortcut, x])
                place.branches.append(
                    Branch(name, shortcut, nested.inputs[0], nested.outputs[0], layer, True)
                )
                return y
    layer, output = kind(**options), branch(x)
    y = layer([shortcut, output] if gate is None else [shortcut, output, gate])
    place.branches.append(Branch(name, shortcut, x, output, layer, False))
    return y


def _skippable(x, branch, name):
    """The branch as a model of its own, or `None` if it cannot run inside a condition.

    Synchronized batch norm cannot: its replicas must all take part.
    """
    inner = keras.Input(x.shape[1:], dtype=x.dtype, name=f"{name}_input")
    try:
        model = keras.Model(inner, branch(inner), name=f"{name}_branch")
    except ValueError as error:
        if "not connected to `inputs`" not in str(error):
            raise
        raise UserError(
            f"The branch {name} must use no tensor but its argument where survival < 1, as it is "
            "computed apart: let it compute the other one itself, or build with "
            "survival_draw='sample'"
        ) from error
    if any(getattr(layer, "synchronized", False) for layer in model.layers):
        return None
    return model


def residual_unit(
    x, convolutions, place, *, net, shortcut, activated=True, plain_start=False, end=None
):
    """The convolutions with their batch norms and ReLUs, merged with the shortcut.

    In the pre-activation placements the layers before the first convolution are shared by branch
    and shortcut in the first block of the net and where the shape changes
    (facebookarchive/fb.resnet.torch, `models/preresnet.lua`; KaimingHe/resnet-1k-layers,
    `resnet-pre-act.lua`); elsewhere they are in the branch. The shortcut's convolution has a batch
    norm where the branch ends in one.

    Args:
        x: Keras tensor `(batch, height, width, channels)`.
        convolutions: Sequence of dictionaries, the arguments of `net.conv` for each convolution of
            the branch.
        place: `Place` of the block.
        net: Options of the network, with `Wiring` and `StochasticDepth`.
        shortcut: `"A"`, `"B"` or `"C"`.
        activated: Boolean. Whether the stem ends in the first block's activation. Defaults to
            `True`.
        plain_start: Boolean. Whether the first block shares its activation only where the shape
            changes, as every other. Defaults to `False`.
        end: `end(y, place) -> y`, further layers at the end of the branch (an attention module), or
            `None`. Defaults to `None`.

    Returns:
        Keras tensor.
    """
    placement, last, name = net.placement, len(convolutions), place.name
    is_normed = "bn" in placement.after
    channels = convolutions[-1]["filters"]
    act = functools.partial(activate, name=name, net=net)

    before = placement.before
    is_start = place.is_first and not plain_start
    if place.is_first and activated:
        before = ()
    elif before and (is_start or place.stride > 1 or x.shape[-1] != channels):
        x, before = act(x, before, number=0), ()
        place.activated.append(x)

    last_norm = {}
    if net.zero_init_residual and is_normed:
        last_norm = {"gamma_initializer": "zeros"}
    elif net.zero_init_residual:
        convolutions = (*convolutions[:-1], convolutions[-1] | {"kernel_initializer": "zeros"})

    def branch(y):
        y = act(y, before, number=0)
        for number, arguments in enumerate(convolutions, 1):
            y = net.conv(**arguments, name=f"{name}_conv{number}")(y)
            if number < last:
                y = act(y, ("bn", "relu"), number=number)
        y = act(y, placement.after, number=last, **last_norm)
        return end(y, place) if end else y

    if net.skip == "none":
        return act(branch(x), placement.merged, number=last)
    path = shortcut_path(
        x,
        channels,
        place.stride,
        name,
        kind=shortcut,
        net=net,
        normed=is_normed,
    )
    path, merge = SKIPS[net.skip](path, name, net)
    # An addition and its ReLU are one layer: half the calls of Keras' walk along the shortcuts.
    is_fused = placement.merged == ("relu",)
    activation = "relu" if is_fused else None
    y = residual(path, x, branch, place, net=net, activation=activation, **merge)
    return y if is_fused else act(y, placement.merged, number=last)
