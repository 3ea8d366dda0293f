"""Which network a file is of, by the shapes of its tensors."""

from keras_resnets.models import registry
from keras_resnets.models.options import without_unused
from keras_resnets.models.resnet import BLOCKS
from keras_resnets.weights.dialect import Description


def described(dialect, tensors, options):
    """The `Description` of a network with these options, by its first and last tensors."""
    stem = dialect.kernel(tensors, dialect.ends["stem_conv"])
    head = dialect.kernel(tensors, dialect.ends["logits"])
    first = dialect.place(1, 1, dialect.parts["bn1"])
    options = {
        **dialect.options,
        "stem": "cifar" if stem[0] == 3 else "imagenet",
        "norm": "batch" if dialect.has_statistics(tensors, first) else "group",
        **options,
    }
    options = without_unused(registry.find(dialect.family).options, options)
    return Description(dialect.family, options, stem[2], head[-1] if head else 0)


def _kernels(dialect, tensors):
    """`kernel(stage, index, part)`: the shape of a block's kernel, `None` where there is none."""

    def kernel(stage, index, part):
        if part not in dialect.parts:
            return None
        return dialect.kernel(tensors, dialect.place(stage, index, dialect.parts[part]))

    return kernel


def residual_net(dialect, checkpoint):
    """Describes a net of `resnet` or `resnet_cifar`: `Dialect.describe` of their dialects.

    Returns:
        `Description`, or `None` if the shapes are those of no network of the dialect's family.
    """
    tensors = checkpoint.tensors
    kernel = _kernels(dialect, tensors)
    blocks = dialect.depths(tensors)
    first, second, third = (kernel(1, 1, f"conv{number}") for number in (1, 2, 3))
    if first is None or second is None:
        return None
    kind = "bottleneck" if third else "basic"
    width = third[3] // 4 if third else first[3]
    options = {"width": width}
    if third and second[2]:
        groups = second[3] // second[2]
        per_group = round(second[3] / groups * 64 / width)
        options |= {"groups": groups, "width_per_group": per_group}
    stem = dialect.kernel(tensors, dialect.ends["stem_conv"])
    options["stem_width"] = None if stem[3] == width else stem[3]
    strided = kernel(2, 1, "shortcut_conv")
    always = len(blocks) and blocks[0] > 1 and kernel(1, 2, "shortcut_conv")
    options["shortcut"] = "C" if always else "B" if strided else "A"
    if options["shortcut"] != "A":
        options["shortcut_pad"] = "end"
    if dialect.family == "resnet":
        options["depth"] = next((d for d, k in BLOCKS.items() if k == (kind, blocks)), None)
    elif len(blocks) == 3 and len(set(blocks)) == 1:
        options |= {"block": kind, "depth": blocks[0] * (9 if third else 6) + 2}
    return described(dialect, tensors, options) if options.get("depth") else None


def dual_path(dialect, checkpoint):
    """Describes a net of `dpn`: `Dialect.describe` of its dialects."""
    tensors = checkpoint.tensors
    kernel = _kernels(dialect, tensors)
    blocks = dialect.depths(tensors)
    firsts = [
        (kernel(stage, 1, "conv3"), kernel(stage, 1, "dense_conv"))
        for stage in range(1, len(blocks) + 1)
    ]
    shortcuts = [kernel(stage, 1, "shortcut_conv") for stage in range(1, len(blocks) + 1)]
    if not blocks or None in shortcuts:
        return None
    variant_b = kernel(1, 1, "dense_conv") is not None
    stem = dialect.kernel(tensors, dialect.ends["stem_conv"])
    spatial = kernel(1, 1, "conv2")
    if variant_b:
        increments = tuple(dense[3] for _, dense in firsts)
        base = firsts[0][0][3]
    else:
        increments = tuple(
            shortcut[3] - last[3] for shortcut, (last, _) in zip(shortcuts, firsts, strict=True)
        )
        base = firsts[0][0][3] - increments[0]
    options = {
        "stem": "imagenet",
        "stem_kernel": None if stem[0] == 7 else stem[0],
        "stem_width": stem[3],
        "depths": blocks,
        "increments": increments,
        "k_r": spatial[3],
        "groups": spatial[3] // spatial[2],
        "base_width": base,
        "variant_b": variant_b,
    }
    return described(dialect, tensors, options)


def best_builder(family, options):
    """The variant that fixes most of these options and none otherwise, else the family.

    Args:
        family: String, the family's registry name.
        options: Dictionary.

    Returns:
        The builder.
    """
    found = registry.find(family)
    for builder in registry.public_builders().values():
        agrees = builder.family == family and all(
            options.get(key, found.options.__dataclass_fields__[key].default) == value
            for key, value in builder.fixed.items()
        )
        if agrees and len(builder.fixed) > len(found.fixed):
            found = builder
    return found
