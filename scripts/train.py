"""Trains a network: python scripts/train.py --flagfile=scripts/flagfiles/quickstart.flags"""

import dataclasses
import logging
import sys
from pathlib import Path

from absl import flags
from cli import run

from keras_resnets.analysis import plot_schedule
from keras_resnets.training import Recipe, train

DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
    tuple: flags.DEFINE_string,  # `Recipe` knows which commas part it
}
FLAGS = flags.FLAGS


def define_flags():
    """Defines one flag for each field of `Recipe`, `--run_dir` and `--plot_schedule`."""
    for field in dataclasses.fields(Recipe):
        required = field.default is dataclasses.MISSING
        default = None if required else field.default
        default = "" if default == () else default
        text = field.metadata["help"]
        if field.metadata.get("choices"):
            flags.DEFINE_enum(field.name, default, field.metadata["choices"], text)
        elif field.metadata.get("repeatable"):
            flags.DEFINE_multi_string(field.name, list(default), text)
        else:
            DEFINE[field.type](field.name, default, text)
        if required:
            flags.mark_flag_as_required(field.name)
    flags.DEFINE_string(
        "run_dir", "", "Folder of the run. Defaults to runs/<flagfile> or runs/<model>_<dataset>."
    )
    flags.DEFINE_string(
        "plot_schedule", "", "Draw the learning rate into this PNG file, and train nothing. "
        "Without --steps_per_epoch the image set is opened, to count them.",
    )


def recipe_from_flags():
    """The `Recipe` that the flags describe."""
    return Recipe(**{field.name: FLAGS[field.name].value for field in dataclasses.fields(Recipe)})


def default_run_dir(arguments, recipe):
    """The folder of a run that is not given one.

    Args:
        arguments: List of strings, the command line.
        recipe: `Recipe`.
    """
    name = f"{recipe.model}_{Path(recipe.dataset).name}"
    for place, argument in enumerate(arguments):
        key, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and key == "flagfile":
            name = Path(value if equals else arguments[place + 1]).stem
    return Path("runs") / name


def main():
    logging.getLogger("tensorflow").setLevel(logging.WARNING)  # it reports every all-reduce
    recipe = recipe_from_flags()
    if FLAGS.plot_schedule:
        plot_schedule(recipe, path=FLAGS.plot_schedule)
        print(f"{FLAGS.plot_schedule} is the learning rate over {recipe.epochs} epochs")
        return
    train(recipe, FLAGS.run_dir or default_run_dir(sys.argv, recipe))


define_flags()
if __name__ == "__main__":
    run(main)
