"""Which images a script works on: those of a run's recipe, or of flags."""

import os

from absl import flags

from keras_resnets.errors import UserError

PARTS = ("train_split", "validation_split", "test_split")


def given(*names):
    """The flags among `names` that were given, as keyword arguments."""
    values = {name: flags.FLAGS[name].value for name in names}
    return {name: value for name, value in values.items() if value is not None}


def which_images(run_dir, *names):
    """Arguments of `data.load_splits`: those of the run, unless flags say otherwise.

    Args:
        run_dir: String, or `None` for what flags alone say.
        *names: The arguments that the script has flags for.

    Raises:
        UserError: If neither names a set.
    """
    from keras_resnets.training.recipe import Recipe

    overrides = given(*names)
    if not run_dir:
        if "dataset" not in overrides:
            raise UserError(
                "Images are needed: --dataset takes a tfds name, `digits`, a folder or a CSV list"
            )
        return overrides
    recipe = Recipe.load(os.path.join(run_dir, "recipe.json"))
    kept = ["dataset", "data_dir", "download", "skip_corrupt", "max_pixels", "seed"]
    if overrides.get("dataset", recipe.dataset) == recipe.dataset:
        kept += PARTS
    return {name: getattr(recipe, name) for name in kept} | overrides


def draw(source, count):
    """Draws images once and for all.

    Args:
        source: `data.Source`.
        count: Int. If there are fewer, all are taken.

    Yields:
        uint8 arrays `(height, width, channels)`.
    """
    from keras_resnets.data.errors import reading

    references = source.sample(min(count, len(source)))
    with reading():
        for image, _ in references.map(source.load).as_numpy_iterator():
            yield image
