"""The ratios to the floor as a picture."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cases import CASES, CONTENDERS
from benchmarks.report import Results

COLOURS = {"nn": "#1f5fa8", "pytorch": "#d9622b", "pytorch-tuned": "#f0a080", "scikit-learn": "#e6a93c"}


def draw(results: Results, path: Path) -> None:
    """Writes a PNG: seconds an epoch as multiples of the floor, a panel for each number of threads.

    The scale is logarithmic: what counts is how many times.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    found = {(row.threads, row.case, row.contender): row.to_floor for row in results.rows()}
    all_threads = sorted({threads for threads, _, _ in found})
    cases = [name for name in CASES if any(case == name for _, case, _ in found)]
    measured = {contender for _, _, contender in found}
    contenders = [name for name in CONTENDERS if name in measured and name != "floor"]
    width = 0.8 / len(contenders)
    figure, panels = plt.subplots(
        1, len(all_threads), figsize=(1 + 4.5 * len(all_threads), 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, threads in zip(panels[0], all_threads, strict=True):
        for place, contender in enumerate(contenders):
            ratios = [(at, found.get((threads, case, contender))) for at, case in enumerate(cases)]
            bars = [(at, ratio) for at, ratio in ratios if ratio is not None]
            drawn = panel.bar(
                [at + (place - (len(contenders) - 1) / 2) * width for at, _ in bars],
                [ratio.median for _, ratio in bars],
                width * 0.92,
                color=COLOURS.get(contender, "#8a5fa8"),
                label=contender,
                yerr=[[r.median - r.low for _, r in bars], [r.high - r.median for _, r in bars]],
                error_kw={"elinewidth": 0.8, "capsize": 2},
            )
            panel.bar_label(drawn, [f"{ratio.median:.2g}" for _, ratio in bars], fontsize=7, padding=2)
        panel.set_yscale("log")
        panel.axhline(1, color="#404040", linewidth=0.8, label="floor: the matrix products alone")
        panel.set_xticks(range(len(cases)), cases)
        panel.set_title("1 thread" if threads == 1 else f"{threads} threads", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
    panels[0][0].set_ylabel("seconds an epoch ÷ the floor's")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    figure.savefig(path, dpi=100)
    plt.close(figure)
