"""Figures of lesions and paths, as those of Veit 2016 (arXiv 1605.06431)."""

import numpy as np

from keras_resnets.analysis import drawing


def plot_single_lesions(results, path, title=None):
    """The error without each block (Figure 3): a line a network, down-sampling blocks filled black.

    Args:
        results: Dictionary from labels to what `single_lesions` returned.
        path: PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.
    """
    longest = max(len(lesions) for _, lesions in results.values())
    figure, (axes,) = drawing.new_figure(width=max(6.0, min(0.22 * longest + 2, 14)))
    for look, (label, (intact, lesions)) in zip(drawing.styles(), results.items(), strict=False):
        places = np.arange(len(lesions)) + 1
        errors = np.array([lesion.error for lesion in lesions]) * 100
        axes.plot(places, errors, label=f"{label}; none deleted {intact:.2%}", **look)
        down = np.array([lesion.is_downsampling for lesion in lesions])
        axes.plot(places[down], errors[down], "o", color="black", markersize=9, fillstyle="none")
        axes.axhline(intact * 100, color=look["color"], linewidth=1, alpha=0.6)
    if len(results) == 1 and longest <= 40:
        names = [_short(lesion.name) for lesion in lesions]
        axes.set_xticks(places, names, rotation=90, fontsize=8)
    axes.plot([], [], "o", color="black", markersize=9, fillstyle="none", label="changes the shape")
    axes.set_ylim(bottom=0)
    drawing.finish(axes, "deleted block", "test error (%)")
    figure.suptitle(title or "", fontsize=12)
    if len(results) > 1:
        axes.xaxis.get_major_locator().set_params(integer=True)
    columns = 2 if max(map(len, results)) <= 14 else 1  # long labels would squeeze the axes
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, fontsize=9)
    drawing.save(figure, path)


def plot_random_lesions(results, path, title=None):
    """The error over the number of deleted blocks (Figure 5 a): median and quartiles of the trials.

    Args:
        results: Dictionary from labels to what `random_lesions` returned.
        path: PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.
    """
    figure, (axes,) = drawing.new_figure()
    for look, (label, rows) in zip(drawing.styles(), results.items(), strict=False):
        _draw_spread(axes, rows, "deleted", label, look)
    drawing.finish(axes, "blocks deleted", "test error (%)", title, legend=True)
    drawing.save(figure, path)


def plot_shuffles(results, path, title=None):
    """The error over the Kendall tau of the order of blocks (Figure 5 b): a point a trial.

    Args:
        results: Dictionary from labels to what `shuffles` returned.
        path: PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.
    """
    figure, (axes,) = drawing.new_figure()
    for look, (label, rows) in zip(drawing.styles(), results.items(), strict=False):
        taus = [row["kendall_tau"] for row in rows]
        errors = [row["error"] * 100 for row in rows]
        axes.plot(taus, errors, label=label, **look | {"linestyle": "none", "alpha": 0.7})
    axes.invert_xaxis()
    axes.set_ylim(bottom=0)
    what = "Kendall tau of the order of blocks (1: as trained)"
    drawing.finish(axes, what, "test error (%)", title, legend=len(results) > 1)
    drawing.save(figure, path)


def plot_paths(rows, path, title=None, effective=None):
    """Number of paths, gradient of one path, and their product, over the length (Figure 6).

    Args:
        rows: What `gradients_by_length` returned.
        path: PNG or SVG file to write.
        title: String or `None`. Defaults to `None`.
        effective: What `effective_lengths` returned, to be shaded, or `None`. Defaults to `None`.
    """
    figure, panels = drawing.new_figure(columns=3, width=4.4)
    lengths = [row["length"] for row in rows]
    colour, other = drawing.COLOURS[:2]
    panels[0].bar(lengths, [row["share"] * 100 for row in rows], color=colour)
    drawing.finish(panels[0], "path length (blocks)", "share of all paths (%)", "paths")
    norms = [row["norm"] for row in rows]
    panels[1].plot(lengths, norms, "o-", color=colour, markersize=4, label="mean")
    panels[1].fill_between(
        lengths, [row["lowest"] for row in rows], [row["highest"] for row in rows],
        color=colour, alpha=0.2, linewidth=0, label="lowest to highest",
    )
    what = "norm of the gradient at the image"
    drawing.finish(panels[1], "path length (blocks)", what, "one path", log=True, legend=True)
    totals = np.array([row["total"] for row in rows])
    inside = [effective is not None and effective[0] <= n <= effective[1] for n in lengths]
    colours = [other if is_inside else colour for is_inside in inside]
    panels[2].bar(lengths, totals / totals.sum() * 100, color=colours)
    label = "all paths of a length"
    if effective:
        label += f"\n(orange: {effective[2]:.2%} of the paths, 90 % of the sum)"
    drawing.finish(panels[2], "path length (blocks)", "share of the sum of norms (%)", label)
    if title:
        figure.suptitle(title, fontsize=12)
    drawing.save(figure, path)


def _draw_spread(axes, rows, key, label, look):
    places = sorted({row[key] for row in rows})
    groups = [[row["error"] * 100 for row in rows if row[key] == place] for place in places]
    low, middle, high = np.array([np.percentile(group, (25, 50, 75)) for group in groups]).T
    axes.plot(places, middle, label=f"{label}, median", **look)
    axes.fill_between(places, low, high, color=look["color"], alpha=0.2, linewidth=0)


def _short(name):
    return name.replace("stage", "s").replace("_block", ".")
