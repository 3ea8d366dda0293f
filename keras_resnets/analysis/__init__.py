"""What a network costs, what it has learned, and why it works: the articles' experiments."""

from keras_resnets.analysis.complexity import Complexity, LayerCost, complexity
from keras_resnets.analysis.degradation import plot_degradation, read_errors
from keras_resnets.analysis.experiments import degradation_study, lesion_study, path_study
from keras_resnets.analysis.gradient_log import GradientNorms
from keras_resnets.analysis.gradients import (
    LayerGradient,
    dense_experiment,
    five_layers,
    gradient_norms,
    plot_gradient_norms,
)
from keras_resnets.analysis.lesion_plots import (
    plot_paths,
    plot_random_lesions,
    plot_shuffles,
    plot_single_lesions,
)
from keras_resnets.analysis.lesions import Lesion, random_lesions, shuffles, single_lesions
from keras_resnets.analysis.paths import (
    PathGradients,
    effective_lengths,
    gradients_by_length,
    path_lengths,
)
from keras_resnets.analysis.sums import (
    LambdaGradient,
    ResidualSum,
    lambda_gradients,
    plot_lambda_gradients,
    residual_sums,
)

__all__ = [
    "Complexity",
    "GradientNorms",
    "LambdaGradient",
    "LayerCost",
    "LayerGradient",
    "Lesion",
    "PathGradients",
    "ResidualSum",
    "complexity",
    "degradation_study",
    "dense_experiment",
    "effective_lengths",
    "five_layers",
    "gradient_norms",
    "gradients_by_length",
    "lambda_gradients",
    "lesion_study",
    "path_lengths",
    "path_study",
    "plot_degradation",
    "plot_gradient_norms",
    "plot_lambda_gradients",
    "plot_paths",
    "plot_random_lesions",
    "plot_shuffles",
    "plot_single_lesions",
    "random_lesions",
    "read_errors",
    "residual_sums",
    "shuffles",
    "single_lesions",
]
