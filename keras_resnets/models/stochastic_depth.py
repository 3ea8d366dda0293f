"""Stochastic depth: Huang 2016, *Deep Networks with Stochastic Depth* (arXiv 1603.09382)."""

import math
from typing import NamedTuple

from keras_resnets.layers import Merge
from keras_resnets.models.options import check_choice


class StochasticDepth(NamedTuple):
    """Options of stochastic depth (Huang 2016):
    survival: Float in (0, 1]. Probability with which the last block survives a training step;
        the paper has 0.5. Defaults to 1, no stochastic depth.
    survival_rule: `"linear"`, block l of L survives with 1 - (1 - survival) l / L (Eqn. 4, l from
        1 on), or `"uniform"`, all with `survival`. Defaults to `"linear"`.
    survival_draw: `"batch"`, the paper's form: one draw a block and step, the same on all
        replicas; the branch is not rescaled in training, and multiplied by its probability
        otherwise. A block that is off is not computed, forward or backward; with gated shortcuts
        or `norm="sync_batch"`, whose replicas must all take part, it is computed and multiplied
        by 0. `"sample"`: one draw an image, rescaled in training (timm's DropPath). Defaults to
        `"batch"`.
    """

    survival: float = 1.0
    survival_rule: str = "linear"
    survival_draw: str = "batch"

    def check(self):
        """Raises a ValueError unless every option is legal."""
        if type(self.survival) not in (int, float) or not 0 < self.survival <= 1:
            raise ValueError(
                f"`survival` must be in (0, 1]. Received: survival={self.survival!r}"
            )
        check_choice("survival_rule", self.survival_rule, ("linear", "uniform"))
        check_choice("survival_draw", self.survival_draw, ("batch", "sample"))

    def at(self, position):
        """The survival probability of the block at `position`, l / L in (0, 1]."""
        if self.survival_rule == "uniform":
            return self.survival
        return 1.0 - position * (1.0 - self.survival)


ALWAYS = StochasticDepth()


def expected_depth(model):
    """The expected number of residual blocks in a training step (Huang 2016, section 3).

    Args:
        model: `Network`.

    Returns:
        Float, the sum of the blocks' survival probabilities: 40.25 for the 54 blocks of
        ResNet-110 with `survival=0.5`.
    """
    merges = [layer for layer in model.layers if isinstance(layer, Merge)]
    return math.fsum(getattr(layer, "survival", 1.0) for layer in merges)
