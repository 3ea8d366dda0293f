"""What a network costs and what it has learned."""

from keras_resnets.analysis.complexity import Complexity, LayerCost, complexity

__all__ = ["Complexity", "LayerCost", "complexity"]
