"""Prints every network with its parameters and multiply-accumulates, as a Markdown table.

    python scripts/models.py
    python scripts/models.py "resnet*" --num_classes=100
    python scripts/models.py resnet50 --by=stage
    python scripts/models.py "resnet*" --csv=resnets.csv

Without flags each network has its own number of classes and input size.
"""

import pathlib
import sys

from absl import flags
from cli import COUNT, run

from keras_resnets.errors import UserError

_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes", None, "Classes; each net's own by default.", **COUNT
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side to count at, each net's by default.", **COUNT
)
_BY = flags.DEFINE_enum("by", "model", ["model", "stage", "layer"], "What a row is.")
_CSV = flags.DEFINE_string("csv", None, "File to write the table to as well, with exact counts.")


def main(patterns):
    import keras

    from keras_resnets import complexity, create_model, list_models
    from keras_resnets.analysis.drawing import write_csv

    if _CSV.value:
        pathlib.Path(_CSV.value).touch()  # before the counting, which takes minutes
    names = [name for pattern in patterns or ["*"] for name in list_models(pattern)]
    if not names:
        raise UserError(f"no model matches {' '.join(patterns)}")
    options = {} if _NUM_CLASSES.value is None else {"num_classes": _NUM_CLASSES.value}
    if _BY.value == "model":
        row("model", "input", "output", "trainable", "total", "GMACs", "GFLOPs")
        row(*["---"] * 3, *["---:"] * 4)
    table = []
    for name in names:
        keras.backend.clear_session()
        size = _IMAGE_SIZE.value
        cost = complexity(create_model(name, **options), size and (size, size))
        parts = by_part(cost)
        table += [counts(name, cost.input_shape, *part) for part in parts]
        if _BY.value == "model":
            row(f"`{name}`", sides(cost.input_shape), *figures(cost))
            continue
        print(f"\n{name}, {sides(cost.input_shape)}\n")
        row(_BY.value, "output", "trainable", "total", "GMACs", "GFLOPs")
        row(*["---"] * 2, *["---:"] * 4)
        for part, part_cost in (*parts, ("all", cost)):
            row(part, *figures(part_cost))
    if _CSV.value:
        write_csv(_CSV.value, table)


def by_part(cost):
    if _BY.value == "model":
        return [(None, cost)]
    if _BY.value == "stage":
        return list(cost.stages.items())
    return [(layer.name, layer) for layer in cost.layers]


def counts(name, input_shape, part, cost):
    named = {} if part is None else {_BY.value: part}
    return {
        "model": name,
        **named,
        "input": sides(input_shape),
        "output": sides(cost.output_shape),
        "trainable": cost.trainable,
        "total": cost.total,
        "macs": cost.macs,
        "flops": cost.flops,
    }


def figures(cost):
    gmacs = cost.macs / 1e9
    return (
        sides(cost.output_shape),
        f"{cost.trainable:,}",
        f"{cost.total:,}",
        f"{gmacs:.3f}",
        f"{2 * gmacs:.3f}",
    )


def sides(shape):
    return "x".join(map(str, shape))


def row(*cells):
    print("|", " | ".join(cells), "|")
    sys.stdout.flush()


if __name__ == "__main__":
    run(main, positional=True)
