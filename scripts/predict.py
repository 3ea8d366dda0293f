"""Asks an exported network what images show.

python scripts/predict.py --saved_model=saved_models/resnet20_cifar10 photo.jpg more_photos/ "*.png"
"""

import json
import sys

from absl import flags
from cli import COUNT, run

from keras_resnets.errors import UserError

_SAVED_MODEL = flags.DEFINE_string(
    "saved_model", None, "saved_models/<name>, for its highest version, or that of one version.",
    required=True,
)
_TOP = flags.DEFINE_integer("top", 1, "How many of the best classes to print.", **COUNT)
_JSON = flags.DEFINE_boolean("json", False, "Print one JSON object a line instead of a table.")
_SKIP_CORRUPT = flags.DEFINE_boolean("skip_corrupt", False, "Leave out what cannot be decoded.")
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", None, "Refuse images with more pixels; what the export allows if not given.",
    **COUNT,
)


def main(arguments):
    if not arguments:
        raise UserError("Which images? Give files, folders or quoted patterns such as 'x/*.png'")
    from keras_resnets.images import printable
    from keras_resnets.serving.prediction import Predictor, find_images

    files = find_images(arguments)
    predictor = Predictor(_SAVED_MODEL.value, max_pixels=_MAX_PIXELS.value)
    if _TOP.value > predictor.top:
        raise UserError(
            f"`--top` must be at most {predictor.top} with {predictor.path}: export it again with "
            f"a larger one. Received: --top={_TOP.value}"
        )
    answers = predictor.predict(files, skip_corrupt=_SKIP_CORRUPT.value)
    found = [
        (printable(file), answer[0][: _TOP.value], answer[1][: _TOP.value])
        for file, answer in zip(files, answers, strict=True)
        if answer
    ]
    if _JSON.value:
        for file, labels, scores in found:
            print(json.dumps({"file": file, "classes": labels, "scores": scores}))
    else:
        print_table(found)
    if len(found) < len(files):
        skipped = [file for file, answer in zip(files, answers, strict=True) if not answer]
        names = ", ".join(map(printable, skipped))
        print(f"skipped {len(skipped)} corrupt: {names}", file=sys.stderr)


def print_table(found):
    """A line an image: file, then label and probability of each class asked for."""
    file_width = max((len(file) for file, _, _ in found), default=0)
    label_width = max((len(label) for _, labels, _ in found for label in labels), default=0)
    for file, labels, scores in found:
        columns = zip(labels, scores, strict=True)
        cells = [f"{label:<{label_width}}  {score:.4f}" for label, score in columns]
        print(f"{file:<{file_width}}", *cells, sep="  ")


if __name__ == "__main__":
    run(main, positional=True)
