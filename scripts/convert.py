"""Converts weights of others to a model of this package, and back.

python scripts/convert.py --checkpoint=resnet50.pth --output=resnet50.keras
python scripts/convert.py --checkpoint=resnet50.keras --to=torchvision --output=resnet50.safetensors
"""

import os

from absl import flags
from cli import run

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "File of weights, or with --model the name of a set (IMAGENET1K_V2).",
    required=True,
)
_MODEL = flags.DEFINE_string("model", None, "Registry name; found by the file if not given.")
_OPTION = flags.DEFINE_multi_string("option", [], "Option of the builder, key=value; repeatable.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "New file: .keras, or .safetensors with --to.", required=True
)
_TO = flags.DEFINE_string(
    "to", None, "Whose names the output has: torchvision, or akamaster, timm_dpn, ...."
)
_HALF = flags.DEFINE_boolean("half", False, "With --to: write kernels in float16.")


def main():
    from keras_resnets import weights
    from keras_resnets.errors import UserError
    from keras_resnets.models import create_model
    from keras_resnets.training.recipe_values import parse_options

    output, suffix = _OUTPUT.value, ".safetensors" if _TO.value else ".keras"
    if not output.endswith(suffix):
        given = f" with --to={_TO.value}" if _TO.value else ""
        raise UserError(f"--output must end in {suffix}{given}. Received: {output}")
    if os.path.exists(output):
        raise FileExistsError(f"{output} exists; name a new file")
    if _TO.value:
        weights.check_writable(_TO.value)
    options = parse_options(_OPTION.value)
    if _MODEL.value:
        network = create_model(_MODEL.value, weights=_CHECKPOINT.value, **options)
    elif options:
        raise UserError("--option needs --model, which has the option")
    else:
        network = weights.open(_CHECKPOINT.value)
    if _TO.value:
        weights.save(network, output, _TO.value, half=_HALF.value)
    else:
        weights.write_new(output, network.save)
    print(f"converted {_CHECKPOINT.value}, {network.registry_name}, to {output}")


if __name__ == "__main__":
    run(main)
