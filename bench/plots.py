"""A picture for each case: bars of the medians, with the least and the largest value. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from bench.cases import ALL
from bench.report import measured
from bench.results import Results

OURS, THEIRS, FLOOR = "#1b6ca8", "#9aa5b1", "#e0c46c"
BAR = 0.28  # inches


def draw(results: Results, folder: Path) -> list[Path]:
    """Write ``CASE.png`` into the folder for each case that has figures, and return the paths.

    Raises:
        ImportError: There is no matplotlib.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    paths = []
    for name, entries in results.cases.items():
        case = ALL[name]
        known = measured(case, entries)[::-1]
        if not known:
            continue
        medians = [one.median() or 0.0 for _, one in known]
        spreads = [one.spread() for _, one in known]
        errors = [
            [median - least for median, (least, _) in zip(medians, spreads, strict=True)],
            [most - median for median, (_, most) in zip(medians, spreads, strict=True)],
        ]
        colours = [FLOOR if one.floor else OURS if one.peer == "ours" else THEIRS for _, one in known]
        figure, axes = plt.subplots(figsize=(8, 1.1 + BAR * len(known)), layout="constrained")
        axes.barh([label for label, _ in known], medians, xerr=errors, color=colours, ecolor="#444444", height=0.7)
        top = max((value for value, (_, one) in zip(medians, known, strict=True) if not one.floor), default=0)
        if max(medians) > 3 * top > 0:  # a floor far off would leave nothing to see of the others
            axes.set_xlim(0, 1.2 * top)
        axes.set_title(case.title, fontsize=10, loc="left")
        axes.set_xlabel(f"{case.unit}, {'less' if case.less_is_better else 'more'} is better", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=110)
        plt.close(figure)
    return paths
