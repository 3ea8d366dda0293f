"""Figures: what is on them, not how they look."""

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from keras_resnets.analysis import plots


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, in order."""
    figures, save = [], Figure.savefig

    def savefig(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def texts(axes):
    return [text.get_text() for text in axes.texts]


def assert_png(path):
    pixels = matplotlib.image.imread(path)
    assert pixels.ndim == 3 and pixels.std() > 0


LOG = """epoch,accuracy,learning_rate,loss,val_accuracy,val_loss
{0},0.5,0.1,2.0,0.4,2.5
{1},0.75,0.01,1.0,0.625,1.5
"""


@pytest.mark.parametrize("first", [0, 1])
def test_curves_are_the_logs(first, drawn, tmp_path):
    (tmp_path / "log.csv").write_text(LOG.format(first, first + 1))
    plots.plot_curves(tmp_path / "log.csv", tmp_path / "curves.png")
    assert_png(tmp_path / "curves.png")
    loss, accuracy, rate = drawn[0].axes
    curves = [line.get_ydata().tolist() for line in (*loss.lines, *accuracy.lines, *rate.lines)]
    assert curves == [[2.0, 1.0], [2.5, 1.5], [0.5, 0.75], [0.4, 0.625], [0.1, 0.01]]
    assert loss.lines[0].get_xdata().tolist() == [1, 2]
    assert rate.get_yscale() == "log"
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["loss", "accuracy", "learning rate"]


def test_curves_prefer_the_cross_entropy_to_a_smoothed_loss(drawn, tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,cross_entropy,val_cross_entropy\n1,9,1,2\n")
    plots.plot_curves(tmp_path / "log.csv", tmp_path / "curves.png")
    (axes,) = drawn[0].axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[1], [2]]


def curves_log(path, values, first=1):
    lines = [f"{epoch},{value},{value},0.5" for epoch, value in enumerate(values, first)]
    path.write_text("\n".join(["epoch,cross_entropy,val_cross_entropy,val_accuracy", *lines]))
    return path


@pytest.mark.parametrize("bad", [30.0, 1e6])
def test_one_bad_epoch_does_not_flatten_the_curve(bad, drawn, tmp_path):
    values = 2.0 * 0.8 ** np.arange(20)
    spoiled = values.copy()
    spoiled[7] = bad
    for number, rows in enumerate((values, spoiled)):
        log = curves_log(tmp_path / "log.csv", rows)
        plots.plot_curves(log, tmp_path / f"{number}.png")
        assert_png(tmp_path / f"{number}.png")

    def height(figure):
        """The share of the axis between the first value and the last one."""
        axes = figure.axes[0]
        places = axes.transAxes.inverted().transform(
            axes.transData.transform([(1, values[0]), (20, values[-1])])
        )
        return places[0, 1] - places[1, 1]

    assert height(drawn[1]) > 0.8 * height(drawn[0]) > 0.7
    sound, spoiled_axes = drawn[0].axes[0], drawn[1].axes[0]
    assert not sound.texts and not sound.collections
    assert set(texts(spoiled_axes)) == {f"{bad:.3g}"}  # what lies beyond is not hidden
    assert bad > spoiled_axes.get_ylim()[1]
    assert spoiled_axes.lines[0].get_ydata()[7] == bad


@pytest.mark.parametrize("first", [0, 1])
def test_the_best_epoch_is_marked(first, drawn, tmp_path):
    log = curves_log(tmp_path / "log.csv", [2.0, 0.5, 1.0], first)
    plots.plot_curves(log, tmp_path / "curves.png", "resnet20 on digits", best=2)
    (axes,) = drawn[0].axes
    (mark,) = axes.collections
    np.testing.assert_array_equal(mark.get_offsets(), [[2, 0.5]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training", "validation", "best, epoch 2"
    ]
    assert drawn[0].get_suptitle() == "resnet20 on digits"


def test_values_without_a_logarithm(drawn, tmp_path):
    plots.plot_curves(curves_log(tmp_path / "log.csv", [0.0, 0.0]), tmp_path / "a.png")
    plots.plot_curves(curves_log(tmp_path / "log.csv", [1.0, 0.0]), tmp_path / "b.png", best=2)
    assert drawn[0].axes[0].get_yscale() == "linear"
    assert_png(tmp_path / "b.png")


def test_curves_leave_gaps_out(drawn, tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss,val_loss\n1,3,\n2,2,nan\n3,1,4\n")
    plots.plot_curves(tmp_path / "log.csv", tmp_path / "curves.png")
    training, validation = drawn[0].axes[0].lines
    assert training.get_ydata().tolist() == [3, 2, 1]
    assert (validation.get_xdata().tolist(), validation.get_ydata().tolist()) == ([3], [4])


def test_curves_of_an_empty_log_are_refused(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss\n")
    with pytest.raises(ValueError, match="no epoch"):
        plots.plot_curves(tmp_path / "log.csv", tmp_path / "curves.png")


def test_confusion_is_coloured_by_the_share_of_the_true_class(drawn, tmp_path):
    matrix = [[3, 1, 0], [0, 10, 0], [0, 0, 0]]
    plots.plot_confusion(matrix, ["a", "b", "c"], tmp_path / "confusion.png")
    assert_png(tmp_path / "confusion.png")
    axes = drawn[0].axes[0]
    np.testing.assert_array_equal(
        axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]]
    )
    assert texts(axes) == ["3", "1", "10"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["a", "b", "c"]


@pytest.mark.parametrize(
    "classes, names_shown, counts_shown",
    [(2, True, True), (30, True, True), (100, True, False), (300, False, False)],
)
def test_confusion_is_labelled_as_far_as_it_fits(
    classes, names_shown, counts_shown, drawn, tmp_path
):
    names = [f"n{index}" for index in range(classes)]
    plots.plot_confusion(np.eye(classes, dtype=int), names, tmp_path / "confusion.png")
    axes = drawn[0].axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert (labels == names) == names_shown
    assert (len(texts(axes)) == classes) == counts_shown
    drawn[0].draw_without_rendering()
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    overlaps = [low.y1 > high.y0 for high, low in zip(boxes, boxes[1:], strict=False)]
    assert not any(overlaps)


@pytest.mark.parametrize("channels", [1, 3])
def test_mistakes_sheet(channels, drawn, rng, tmp_path):
    images = [rng.integers(0, 256, (8 + i, 9, channels), dtype=np.uint8) for i in range(7)]
    names = ["cat", "dog"]
    plots.plot_mistakes(images, [0] * 7, [1] * 7, [0.9] * 7, names, tmp_path / "mistakes.png")
    assert_png(tmp_path / "mistakes.png")
    panels = [axes for axes in drawn[0].axes if axes.images]
    assert [axes.get_title() for axes in panels] == ["dog  90%"] * 7
    assert [texts(axes) for axes in panels] == [["true: cat"]] * 7
    for axes, image in zip(panels, images, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), image.squeeze())


def test_mistakes_sheet_holds_25(drawn, tmp_path):
    images = np.zeros((30, 4, 4, 3), np.uint8)
    plots.plot_mistakes(images, [0] * 30, [1] * 30, [1.0] * 30, ["a", "b"], tmp_path / "m.png")
    assert sum(bool(axes.images) for axes in drawn[0].axes) == 25


def test_no_mistakes(drawn, tmp_path):
    plots.plot_mistakes([], [], [], [], ["a", "b"], tmp_path / "mistakes.png")
    assert_png(tmp_path / "mistakes.png")
    assert [text.get_text() for text in drawn[0].texts] == ["no mistakes"]


def test_a_notebooks_backend_and_figures_are_left_alone(monkeypatch, tmp_path):
    monkeypatch.setitem(matplotlib.rcParams, "backend", "svg")
    pyplot.close("all")
    plots.plot_mistakes([], [], [], [], [], tmp_path / "mistakes.png")
    assert matplotlib.get_backend() == "svg"
    assert pyplot.get_fignums() == []
