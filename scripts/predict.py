"""Asks an exported network, of any format, what images show.

python scripts/predict.py --saved_model=saved_models/resnet20_cifar10 photo.jpg more_photos/ "*.png"
find photos -name "*.jpg" | python scripts/predict.py --saved_model=... --format=csv - > classes.csv
"""

import codecs
import csv
import json
import os
import sys

from absl import flags
from cli import COUNT, run

from keras_resnets.errors import UserError

_SAVED_MODEL = flags.DEFINE_string(
    "saved_model", None, "saved_models/<name>, for its highest version, or that of one version.",
    required=True,
)
_TOP = flags.DEFINE_integer("top", 1, "How many of the best classes to print.", **COUNT)
_FORMAT = flags.DEFINE_enum(
    "format", "table", ["table", "json", "csv"], "A table at the end, or as answers come one JSON "
    "object a line, or CSV with a header.",
)
_SKIP_CORRUPT = flags.DEFINE_boolean("skip_corrupt", False, "Leave out what cannot be decoded.")
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", None, "Refuse images with more pixels; what the export allows if not given.",
    **COUNT,
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images at a time.", **COUNT)

COLUMNS = ("class", "score")  # of a CSV file, for each of the best classes


def main(arguments):
    if not arguments:
        raise UserError(
            "Which images? Give files, folders or quoted patterns such as 'x/*.png', or - for a "
            "list on stdin"
        )
    from keras_resnets.serving.image_arguments import find_images
    from keras_resnets.serving.prediction import Predictor

    files = find_images(named(arguments))
    predictor = Predictor(
        _SAVED_MODEL.value, _BATCH_SIZE.value, max_pixels=_MAX_PIXELS.value, top=_TOP.value
    )
    print_rows = {"table": print_table, "json": print_json, "csv": print_csv}[_FORMAT.value]
    skipped = []
    print_rows(rows(predictor, files, skipped))
    if skipped:
        print(f"skipped {len(skipped)} corrupt: {', '.join(skipped)}", file=sys.stderr)


def named(arguments):
    """The arguments, the lines of stdin in the place of `-`."""
    found = []
    for argument in arguments:
        if argument != "-":
            found.append(argument)
            continue
        text = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8)
        lines = [os.fsdecode(line.rstrip(b"\r")) for line in text.split(b"\n")]
        lines = [line for line in lines if line]
        if not lines:
            raise UserError("`-` stands for a list of images on stdin, a name a line: it is empty")
        found += lines
    return found


def rows(predictor, files, skipped):
    """Yields (file, labels, scores) of each image; those that are left out go into `skipped`."""
    from progress import Progress

    from keras_resnets.images import printable

    # Lines that appear in the same terminal show the progress themselves.
    is_seen = _FORMAT.value != "table" and sys.stdout.isatty()
    with Progress(len(files), None if is_seen else sys.stderr) as progress:
        answers = predictor.predict_iter(files, skip_corrupt=_SKIP_CORRUPT.value)
        for done, (file, answer) in enumerate(zip(files, answers, strict=True), 1):
            if answer:
                yield printable(file), *answer
            else:
                skipped.append(printable(file))
            progress.show(done)


def print_json(found):
    for file, labels, scores in found:
        print(json.dumps({"file": file, "classes": labels, "scores": scores}), flush=True)


def print_csv(found):
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = [f"{what}_{place}" for place in range(1, _TOP.value + 1) for what in COLUMNS]
    writer.writerow(["file", *columns])
    for file, labels, scores in found:
        pairs = zip(labels, scores, strict=True)
        writer.writerow([file, *(cell for pair in pairs for cell in pair)])
        sys.stdout.flush()


def print_table(found):
    """A line an image: file, then label and probability of each class asked for."""
    found = list(found)
    file_width = max((len(file) for file, _, _ in found), default=0)
    label_width = max((len(label) for _, labels, _ in found for label in labels), default=0)
    for file, labels, scores in found:
        columns = zip(labels, scores, strict=True)
        cells = [f"{label:<{label_width}}  {score:.4f}" for label, score in columns]
        print(f"{file:<{file_width}}", *cells, sep="  ")


if __name__ == "__main__":
    run(main, positional=True)
