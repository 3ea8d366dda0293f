"""Stochastic depth: Huang 2016, *Deep Networks with Stochastic Depth* (arXiv 1603.09382)."""

import dataclasses
import math
import statistics
from typing import ClassVar, Literal

from keras_resnets.checks import Survival
from keras_resnets.errors import UserError
from keras_resnets.layers.draws import Draw


@dataclasses.dataclass(frozen=True, kw_only=True)
class StochasticDepth:
    """What families with residual blocks share.

    Options of stochastic depth (Huang 2016):
        survival: Float in (0, 1]. Probability with which the last block survives a training step;
            the paper has 0.5. Defaults to 1, no stochastic depth.
        survival_rule: `"linear"`, block l of L survives with 1 - (1 - survival) l / L (Eqn. 4, l
            from 1 on), or `"uniform"`, all with `survival`.
        survival_draw: `"batch"`, the paper's form: one draw a block and step, the same on all
            replicas; the branch is not rescaled in training, and multiplied by its probability
            otherwise. A block that is off is not computed, forward or backward; with gated
            shortcuts or `norm="sync_batch"`, whose replicas must all take part, it is computed
            and multiplied by 0. `"sample"`: one draw an image, rescaled in training (timm's
            DropPath).
    """

    survival: Survival = 1.0
    survival_rule: Literal["linear", "uniform"] = "linear"
    survival_draw: Draw = "batch"

    interchangeable: ClassVar[tuple[str, ...]] = ("survival", "survival_rule", "survival_draw")

    def survival_at(self, position):
        """The survival probability of the block at `position`, l / L in (0, 1]."""
        if self.survival_rule == "uniform":
            return self.survival
        return 1.0 - position * (1.0 - self.survival)


ALWAYS = StochasticDepth()


def expected_depth(model) -> float:
    """The expected number of blocks in a training step (Huang 2016, section 3).

    Args:
        model: `Network`.

    Returns:
        Float, the sum over the blocks of the survival probability of their branches (the mean, of
        a block with several); a block without shortcut always survives. 40.25 for the 54 blocks
        of ResNet-110 with `survival=0.5`.
    """
    if not hasattr(model, "blocks"):
        raise UserError(f"`model` must be a keras_resnets.Network. Received: model={model!r}")
    return math.fsum(
        statistics.fmean(getattr(branch.merge, "survival", 1.0) for branch in block.branches)
        if block.branches
        else 1.0
        for block in model.blocks
    )
