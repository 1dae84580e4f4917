"""Pictures that the pages of transfer studies share."""

from __future__ import annotations

import numpy as np

from uprior.report.arms import curves_picture


def test_every_arm_stands_in_the_legend_and_no_panel_is_empty() -> None:
    x = np.array([0.0, 1.0])
    y = np.array([[2.0, 1.0]])
    panels = {f"task {n}": {"scratch": (x, y), f"arm {n}": (x, y)} for n in range(4)}
    svg = curves_picture("c.svg", "curves", "caption", panels, "bits").svg.decode()
    # Text is drawn, and named in comments; the two places of a grid of six that hold no panel draw no axes.
    assert all(svg.count(f"<!-- {text} -->") == 1 for text in ("scratch", "arm 0", "arm 1", "arm 2", "arm 3", "task 3"))
    assert svg.count('<g id="axes_') == 4
