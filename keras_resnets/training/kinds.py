"""The optimizers by their names in recipes, and what each takes unless told otherwise."""

import inspect

from keras_resnets.training.adaptive import LAMB, AdamW
from keras_resnets.training.optimizer import SGD

OPTIMIZERS = {"sgd": SGD, "lamb": LAMB, "adamw": AdamW}


def own_value(optimizer, argument):
    """The default of an optimizer's argument, which its class alone decides.

    Args:
        optimizer: One of `OPTIMIZERS`.
        argument: String.

    Returns:
        The value, or `None` if the optimizer has no such argument.
    """
    for kind in OPTIMIZERS[optimizer].__mro__:
        taken = inspect.signature(kind.__init__).parameters if "__init__" in vars(kind) else {}
        if argument in taken and taken[argument].default is not inspect.Parameter.empty:
            return taken[argument].default
    return None
