"""A confusion matrix as a picture: rows are the truth, columns the prediction."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from metrics.plot import GRAY, INK, Canvas, font_of, shortened

# From labels so few on: pixels of a cell, height of the numbers in it, digits after the point.
SIZES = ((24, 24, 11, 0), (12, 36, 14, 0), (6, 60, 17, 1), (0, 96, 20, 1))
RIGHT = ((255, 255, 255), (198, 219, 239), (66, 146, 198), (8, 81, 156), (8, 48, 107))
WRONG = ((255, 255, 255), (253, 208, 162), (241, 105, 19), (166, 54, 3), (102, 37, 6))
NOTHING = (240, 240, 240)  # rows of labels that the truth lacks
DARK = 0.45  # share from which numbers are white


def draw_confusion(
    counts: Sequence[Sequence[int]], names: Sequence[str], title: str
) -> Image.Image:
    """Cells in percent of their row, blue where the prediction is right and orange where not.

    Args:
        counts: (C, C) counts[true][predicted].
        names: of the C labels.
        title: above it.
    """
    cell, size, digits = next(row[1:] for row in SIZES if len(names) >= row[0])
    side, shown = len(names) * cell, [shortened(name, 16, 190) for name in names]
    longest = round(max(font_of(16).getlength(name) for name in shown))
    left, top = longest + 64, longest + 108
    width = max(left + side, round(font_of(20).getlength(title)) + 24) + 24
    canvas = Canvas(width, top + side + 24, finer=1)
    canvas.text((24, 30), title, 20)
    canvas.text((24, 56), "percent of each row's pixels", 14, GRAY)
    canvas.text((left + side / 2, 82), "prediction", 15, GRAY, 0.5)
    canvas.text((26, top + side / 2), "truth", 15, GRAY, 0.5, turn=1)
    for true, row in enumerate(counts):
        total, middle = sum(row), (true + 0.5) * cell
        canvas.text((left - 8, top + middle), shown[true], 16, align=1)
        canvas.text((left + middle, top - 8), shown[true], 16, turn=1)
        for predicted, count in enumerate(row):
            x, y = left + predicted * cell, top + true * cell
            share = count / max(1, total)
            color = _shade(RIGHT if true == predicted else WRONG, share) if total else NOTHING
            canvas.box((x, y), cell, color)
            if float(text := f"{100 * share:.{digits}f}"):
                ink = "white" if share >= DARK else INK
                canvas.text((x + cell / 2, y + cell / 2), text, size, ink, 0.5)
    return canvas.image()


def _shade(scale: Sequence[tuple[int, int, int]], share: float) -> tuple[int, ...]:
    """A colour between those of the scale, by a share in 0..1."""
    number = min(int(share * (len(scale) - 1)), len(scale) - 2)
    part = share * (len(scale) - 1) - number
    pair = zip(scale[number], scale[number + 1], strict=True)
    return tuple(round(low + (high - low) * part) for low, high in pair)
