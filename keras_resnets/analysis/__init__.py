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
from keras_resnets.analysis.experiments import (
    cost_study,
    degradation_study,
    depth_study,
    grad_cam_study,
    gradient_log_study,
    gradient_study,
    lesion_study,
    path_study,
    sum_study,
)
from keras_resnets.analysis.filters import plot_filters
from keras_resnets.analysis.five_layers import dense_experiment, five_layers
from keras_resnets.analysis.gradcam import grad_cam, plot_grad_cam
from keras_resnets.analysis.gradient_log import (
    GradientNorms,
    plot_gradient_log,
    read_gradients,
)
from keras_resnets.analysis.gradients import LayerGradient, gradient_norms, plot_gradient_norms
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
from keras_resnets.analysis.schedule_plot import plot_schedule
from keras_resnets.analysis.stochastic_depth import (
    effective_depth,
    plot_effective_depth,
    run_effective_depth,
)
from keras_resnets.analysis.stochastic_training import (
    FirstGradient,
    TimeSaved,
    first_gradients,
    plot_first_gradients,
    time_saved,
)
from keras_resnets.analysis.sums import (
    LambdaGradient,
    ResidualSum,
    lambda_gradients,
    plot_lambda_gradients,
    residual_sums,
)
from keras_resnets.analysis.survival_sweep import plot_sweep, sweep

__all__ = [
    "Complexity",
    "FirstGradient",
    "GradientNorms",
    "LambdaGradient",
    "LayerCost",
    "LayerGradient",
    "Lesion",
    "PathGradients",
    "ResidualSum",
    "TimeSaved",
    "accuracy_against_cost",
    "augmentation_sheet",
    "augmented",
    "complexity",
    "cost_study",
    "cost_table",
    "degradation_study",
    "dense_experiment",
    "depth_study",
    "diagram",
    "effective_depth",
    "effective_lengths",
    "first_gradients",
    "five_layers",
    "grad_cam",
    "grad_cam_study",
    "gradient_log_study",
    "gradient_norms",
    "gradient_study",
    "gradients_by_length",
    "lambda_gradients",
    "lesion_study",
    "path_lengths",
    "path_study",
    "plot_accuracy_against_cost",
    "plot_cost",
    "plot_degradation",
    "plot_effective_depth",
    "plot_filters",
    "plot_first_gradients",
    "plot_grad_cam",
    "plot_gradient_log",
    "plot_gradient_norms",
    "plot_lambda_gradients",
    "plot_paths",
    "plot_random_lesions",
    "plot_schedule",
    "plot_shuffles",
    "plot_single_lesions",
    "plot_sweep",
    "random_lesions",
    "read_errors",
    "read_gradients",
    "residual_sums",
    "run_effective_depth",
    "shuffles",
    "single_lesions",
    "sum_study",
    "sweep",
    "time_saved",
]
