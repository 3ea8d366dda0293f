"""The names of this package: `.keras`, `.weights.h5` and `.safetensors` files of its networks."""

import dataclasses

from keras_resnets.errors import UserError
from keras_resnets.models import registry
from keras_resnets.models.options import without_unused
from keras_resnets.weights.dialect import Description, Dialect, keras_slots

_FIRST = "stage1_block1_"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Own(Dialect):
    """Layer names are those of the network, of whatever family."""

    def fits(self, checkpoint):
        return any(name.startswith(_FIRST) for name in checkpoint.tensors)

    def explained(self, tensors):
        return len(tensors)

    def name_of(self, layer, block):
        return layer.name


def _describe(dialect, checkpoint):
    network = checkpoint.network
    if network is None:
        return None
    family, options = network.get("family"), network.get("options", network.get("wiring"))
    if "registry_name" in network:
        builder = registry.find(network["registry_name"])
        family, options = builder.family, {**options, **builder.fixed}
    known = registry.find(family).options
    unknown = options.keys() - known.__dataclass_fields__
    if unknown:
        raise UserError(
            f"{checkpoint.path} has the option {min(unknown)}, which {family} does not have here: "
            "it is of a later version"
        )
    options = without_unused(known, {**options, "name": None})
    head = checkpoint.tensors.get("logits/0")
    classes = head.shape[-1] if head else 0
    if "input_shape" not in options:  # a file of weights alone says no more than the wiring
        options["include_top"] = bool(classes)
        options["num_classes"] = classes or known.num_classes
    channels = (options.get("input_shape") or (3,))[-1]
    first = checkpoint.tensors.get("stem_conv/0")
    if first and "stem_width" not in options and first.shape[-1] != options.get("width"):
        options["stem_width"] = first.shape[-1]
    return Description(family, options, first.shape[2] if first else channels, classes)


OWN = _Own(
    name="keras_resnets",
    source="this package",
    ends={"stem_conv": "stem_conv", "logits": "logits"},
    block="stage{stage}_block{index}",
    parts={},
    family="",
    describe=_describe,
    mean=(),
    std=(),
    slots=keras_slots,
)
