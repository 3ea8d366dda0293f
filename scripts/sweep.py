"""Stochastic depth over survival, rule and depth: one training each, resumable at any moment.

    python scripts/sweep.py --flagfile=scripts/flagfiles/survival_sweep.flags
    python scripts/sweep.py --flagfile=my.flags --survivals=0.2,0.5,1 --depths=20,56

The flags are those of train.py, whose --run_dir is the folder of all runs, with sweep.csv and
sweep.png; the model must have the option `survival`, which is set for each run.
"""

import sys

from absl import flags
from cli import run
from train import default_run_dir, recipe_from_flags

from keras_resnets.errors import UserError

_SURVIVALS = flags.DEFINE_list("survivals", ["0.2", "0.5", "0.8", "1"], "Of the last block.")
_RULES = flags.DEFINE_list("rules", ["linear", "uniform"], "How survival falls with depth.")
_DEPTHS = flags.DEFINE_list("depths", [], "Layers; the recipe's own depth by default.")


def numbers(name, texts, kind):
    """The values of a list flag as numbers."""
    try:
        return [kind(text) for text in texts]
    except ValueError:
        raise UserError(
            f"`{name}` must be numbers with commas between. Received: {','.join(texts)}"
        ) from None


def main():
    from keras_resnets.analysis import sweep

    recipe = recipe_from_flags()
    folder = flags.FLAGS.run_dir or default_run_dir(sys.argv, recipe)
    survivals = numbers("survivals", _SURVIVALS.value, float)
    depths = numbers("depths", _DEPTHS.value, int) or None
    rows = sweep(recipe, folder, survivals, _RULES.value, depths)
    for row in rows:
        print(f"{row['run']}: test error {row['test_error']:.2%}, {row['seconds']:.0f} s")
    print("wrote", f"{folder}/sweep.csv", f"{folder}/sweep.png", sep="\n  ")


if __name__ == "__main__":
    run(main)
