"""Labels of points, each put where it covers nothing."""

import itertools

# Where a label may stand, in points from its point: near places first.
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))
_DISTANCES = (7, 14, 24, 36, 50)


def label_points(figure, axes, points, texts, size=8.5):
    """Writes a text beside each point, away from other points, texts and the frame.

    A text that finds no place near its point is tied to it by a line. The layout of the figure and
    the limits of the axes must be final: call it last.

    Args:
        figure: matplotlib figure; its layout is computed and then fixed.
        axes: matplotlib axes.
        points: Sequence of pairs, in the units of the axes.
        texts: Sequence of strings.
        size: Float, of the font in points. Defaults to 8.5.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    half = 5 * figure.dpi / 72
    taken = []
    for x, y in axes.transData.transform(list(points)):
        taken.append(Bbox([[x - half, y - half], [x + half, y + half]]))
    frame = axes.get_window_extent(renderer)
    for point, text in zip(points, texts, strict=True):
        best = None
        for distance, (right, up) in itertools.product(_DISTANCES, _SIDES):
            label = _label(axes, point, text, size, distance * right, distance * up)
            box = label.get_window_extent(renderer)
            cost = _outside(frame, box) + sum(_shared(box, other) for other in taken)
            label.remove()
            if best is None or cost < best[0]:
                best = cost, distance * right, distance * up, box
            if cost == 0:
                break
        _, right, up, box = best
        _label(axes, point, text, size, right, up, tied=max(abs(right), abs(up)) > 14)
        taken.append(box)


def _label(axes, point, text, size, right, up, tied=False):
    return axes.annotate(
        text,
        point,
        (right, up),
        textcoords="offset points",
        fontsize=size,
        ha="left" if right > 0 else "right" if right < 0 else "center",
        va="bottom" if up > 0 else "top" if up < 0 else "center",
        arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6} if tied else None,
    )


def _shared(box, other):
    """The area, in pixels, that two boxes have in common."""
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return max(width, 0) * max(height, 0)


def _outside(frame, box):
    """The area, in pixels, of a box that is not in the frame."""
    return box.width * box.height - _shared(frame, box)
