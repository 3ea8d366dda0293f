"""What a network costs, what it has learned, and why it works: the articles' experiments."""

from keras_resnets.analysis.augmentation_sheet import augmentation_sheet, augmented
from keras_resnets.analysis.complexity import Complexity, LayerCost, complexity
from keras_resnets.analysis.cost import (
    accuracy_against_cost,
    cost_table,
    plot_accuracy_against_cost,
    plot_cost,
)
from keras_resnets.analysis.degradation import plot_degradation, read_errors
from keras_resnets.analysis.diagram import diagram
from keras_resnets.analysis.experiments import degradation_study, lesion_study, path_study
from keras_resnets.analysis.filters import plot_filters
from keras_resnets.analysis.gradcam import grad_cam, plot_grad_cam
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

__all__ = [
    "Complexity",
    "LayerCost",
    "Lesion",
    "PathGradients",
    "accuracy_against_cost",
    "augmentation_sheet",
    "augmented",
    "complexity",
    "cost_table",
    "degradation_study",
    "diagram",
    "effective_lengths",
    "grad_cam",
    "gradients_by_length",
    "lesion_study",
    "path_lengths",
    "path_study",
    "plot_accuracy_against_cost",
    "plot_cost",
    "plot_degradation",
    "plot_filters",
    "plot_grad_cam",
    "plot_paths",
    "plot_random_lesions",
    "plot_shuffles",
    "plot_single_lesions",
    "random_lesions",
    "read_errors",
    "shuffles",
    "single_lesions",
]
