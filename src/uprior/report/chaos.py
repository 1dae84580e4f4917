"""The edge-of-chaos study as a picture: sensitivity, compressed size and sorted frequencies against the weights' multiplier."""

from __future__ import annotations

import io
from typing import Any


def chaos_picture(records: list[dict[str, Any]], title: str) -> bytes:
    """A PNG of what ``uprior.sources._chaos.chaos`` found."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    multipliers = [record["multiplier"] for record in records]
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
        for name, label in (
            ("sensitivity", "tokens changed by one changed token, share"),
            ("late_sensitivity", "the same in the last quarter"),
            ("deflate_ratio", "size after deflate, share"),
        ):
            left.plot(multipliers, [record[name] for record in records], marker="o", ms=3, label=label)
        left.set(xscale="log", xlabel="multiplier of the weights", ylim=(0, None), title=title)
        left.set_xticks(multipliers, [f"{m:g}" for m in multipliers], minor=False)
        left.minorticks_off()
        left.legend(frameon=False)
        colours = pyplot.get_cmap("viridis")
        for i, record in enumerate(records):
            shares = [share for share in record["sorted_frequencies"] if share > 0]
            colour = colours(i / max(1, len(records) - 1))
            right.plot(range(1, len(shares) + 1), shares, color=colour, label=f"{record['multiplier']:g}")
        right.set(xscale="log", yscale="log", xlabel="rank of a token in its row", ylabel="share of the row")
        right.legend(title="multiplier", frameon=False, fontsize=7)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=110)
        pyplot.close(figure)
    return out.getvalue()
