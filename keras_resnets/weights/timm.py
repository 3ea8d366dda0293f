"""The names of timm's networks that torchvision does not have (Apache-2.0)."""

from keras_resnets.weights.dialect import Dialect, convolved_slots
from keras_resnets.weights.guessing import dual_path, residual_net

_DPN_BLOCK = {
    "shortcut_bn": "c1x1_w_s{stride}.bn",
    "shortcut_conv": "c1x1_w_s{stride}.conv",
    "bn1": "c1x1_a.bn",
    "conv1": "c1x1_a.conv",
    "bn2": "c3x3_b.bn",
    "conv2": "c3x3_b.conv",
    "bn3": "c1x1_c.bn",
}


def _silu(tensors):
    """Why dpn48b is refused, the one net of depths 3, 4, 6, 3; `None` for the others."""
    block = "features.conv4_{}.c1x1_a.conv.weight"
    if block.format(6) in tensors and block.format(7) not in tensors:
        return "timm's dpn48b has SiLU activations, which no network here has"
    return None


def _dpn(name, last):
    return Dialect(
        name=name,
        source="huggingface/pytorch-image-models, timm/models/dpn.py",
        ends={
            "stem_conv": "features.conv1_1.conv",
            "stem_bn": "features.conv1_1.bn",
            "final_bn": "features.conv5_bn_ac.bn",
            "logits": "classifier",
        },
        block="features.conv{next}_{index}",
        parts=_DPN_BLOCK | last,
        family="dpn",
        describe=dual_path,
        mean=(124 / 255, 117 / 255, 104 / 255),
        std=(1 / (0.0167 * 255),) * 3,
        resize_share=0.875,
        interpolation="bicubic",
        slots=convolved_slots,
        marks=tuple(("conv1", "conv2", *last)),
        refuse=_silu,
    )


DPN = _dpn("timm_dpn", {"conv3": "c1x1_c.conv"})
DPN_B = _dpn("timm_dpn_b", {"conv3": "c1x1_c1", "dense_conv": "c1x1_c2"})

def _standardized(tensors):
    """Why BiT's nets are refused, whose names are the same; `None` for those with batch norm."""
    if "stages.0.blocks.0.norm1.running_var" not in tensors:
        return "timm's resnetv2 nets with group norm (BiT) standardize their kernels at each call"
    return None


RESNETV2 = Dialect(
    name="timm_resnetv2",
    source="huggingface/pytorch-image-models, timm/models/resnetv2.py",
    ends={"stem_conv": "stem.conv", "final_bn": "norm", "logits": "head.fc"},
    block="stages.{previous}.blocks.{before}",
    parts={
        **{f"conv{number}": f"conv{number}" for number in (1, 2, 3)},
        **{f"bn{number}": f"norm{number}" for number in (1, 2, 3)},
        "shortcut_conv": "downsample.conv",
    },
    family="resnet",
    describe=residual_net,
    options={"activation": "full_preact", "bare_stem": True, "stride_in": "3x3"},
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    resize_share=0.95,
    interpolation="bicubic",
    slots=convolved_slots,
    refuse=_standardized,
)
