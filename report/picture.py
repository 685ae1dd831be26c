"""Charts of a job as one PNG, for places that run no script: a notebook, a page on GitHub."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from report.charts.curves import accuracy_figure, loss_figure
from report.charts.figure import Figure
from report.charts.tuning import parameter_figures, progress_figure
from report.pages.job import read_job
from report.pages.render import CONFIG
from report.read.aws import Clients
from report.read.inputs import collect
from report.read.tuning import look

_WIDTH = 640  # pixels, without the axes
_FONT = "Liberation Sans, DejaVu Sans, Arial, sans-serif"  # what a machine without a browser may have


@dataclass(frozen=True)
class Picture:
    """A PNG, which Jupyter shows by itself, and what can be seen in it in words."""

    png: bytes
    caption: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"image/png": self.png, "text/plain": self.caption}


def training_curves(clients: Clients, name: str) -> Picture | None:
    """Loss and accuracy of a training job, with its findings at their steps; None before the first of them.

    Raises:
        ByocError: no such job, or AWS refuses.
    """
    inputs = collect(clients, name)
    job = read_job(inputs)
    classes = len(job.quality.classes)
    return _picture(
        [
            loss_figure(job.series, inputs.log, job.marked, classes),
            accuracy_figure(inputs.log, job.marked, classes),
        ]
    )


def tuning_curves(clients: Clients, name: str) -> Picture | None:
    """The objective by trial and by setting; None before the first trial has one.

    Raises:
        ByocError: no such job, or AWS refuses.
    """
    job = look(clients, name)
    return _picture([progress_figure(job), *parameter_figures(job)])


def _picture(figures: Sequence[Figure | None]) -> Picture | None:
    drawn = [item for item in figures if item is not None]
    return Picture(png(drawn), "\n".join(item.caption for item in drawn)) if drawn else None


def png(figures: Sequence[Figure]) -> bytes:
    """The charts below each other, on white."""
    import vl_convert
    from PIL import Image

    charts = []
    for item in figures:
        spec = {
            **_with_data(item.spec, item),
            "width": _WIDTH,
            "title": {"text": item.title, "anchor": "start"},
        }
        spec.pop("autosize", None)  # the page's: as wide as its place
        charts.append(spec)
    config = {**CONFIG, "background": "white", "font": _FONT}
    page = {"vconcat": charts, "resolve": {"scale": {"color": "independent"}}, "config": config}
    drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(page, scale=1.5)))
    # Lines on white need few colours: a quarter of the bytes, which a notebook keeps for good.
    small = io.BytesIO()
    drawn.convert("RGB").quantize(64).save(small, "png", optimize=True)
    return small.getvalue()


def _with_data(spec: Any, figure: Figure) -> Any:
    """The specification with the rows that it names in their place: names are shared by figures."""
    if isinstance(spec, list):
        return [_with_data(item, figure) for item in spec]
    if not isinstance(spec, dict):
        return spec
    named = spec.get("data")
    values = {key: _with_data(value, figure) for key, value in spec.items() if key != "data"}
    if isinstance(named, dict) and (columns := figure.tables.get(str(named.get("name")))) is not None:
        rows = zip(*columns.values(), strict=True)
        return {**values, "data": {"values": [dict(zip(columns, row, strict=True)) for row in rows]}}
    return values if named is None else {**values, "data": named}
