"""From view values to one HTML file that needs nothing else: no network, no fonts, no second file.

Everything that comes from a job (names, classes, log lines, findings) is untrusted. Jinja escapes it in the
page; in the charts' data no character is left that could end the script element; and the
Content-Security-Policy allows
exactly the two scripts that are written here, by their hashes, and nothing from anywhere else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from contract.files import write_atomically
from report import verdicts, words
from report.charts.figure import Figure

TEMPLATES = Path(__file__).parents[1] / "templates"

CONFIG: dict[str, Any] = {
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif",
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 11.5,
        "titleFontWeight": 500,
        "titlePadding": 8,
        "domain": False,
        "tickSize": 4,
        "labelPadding": 4,
        "labelOverlap": "greedy",
    },
    "axisX": {"domain": True},
    "legend": {
        "labelFontSize": 12,
        "titleFontSize": 11.5,
        "titleFontWeight": 500,
        "titleAnchor": "start",
        "symbolSize": 120,
        "offset": 8,
        "padding": 0,
        "labelLimit": 260,
    },
    "line": {"strokeCap": "round", "strokeJoin": "round"},
    "rule": {"strokeCap": "butt"},
}
"""Vega-Lite's configuration for all charts. Colours of ink are the style sheet's."""


def render(template: str, drawn: list[Figure], /, **context: Any) -> str:
    """The whole page. `drawn` are the charts that the template places; their data are embedded once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "percent": words.percent,
        "duration": words.duration,
        "ms": words.milliseconds,
        "moment": words.moment,
        "mark": verdicts.mark,
        "question": verdicts.question,
        "parameters": verdicts.parameters,
    }
    library = vega_bundle() if drawn else ""
    program = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(program)}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(template).render(
        **context,
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        library=Markup(library),
        program=Markup(program),
        policy=policy,
        charts=Markup(script_json(_document(drawn))),
        versions=versions(),
    )


def _document(figures: Iterable[Figure]) -> dict[str, Any]:
    return {
        "config": CONFIG,
        "figures": [{"id": item.id, "spec": item.spec, "tables": item.tables} for item in figures],
    }


def script_json(value: object) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the vl-convert package.

    Bundling takes two seconds, so the result is kept in the user's cache folder, with a checksum.
    """
    version = metadata.version("vl-convert-python")
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "byoc" / f"vega-{version}.js"
    with suppress(OSError, UnicodeDecodeError):
        checksum, _, content = kept.read_text(encoding="utf-8").partition("\n")
        if checksum == _checksum(content):
            return content
    import vl_convert

    bundle = str(vl_convert.javascript_bundle())  # type: ignore[call-arg]  # its stub has no default
    if "</script" in bundle.lower() or "<!--" in bundle:
        raise AssertionError("the Vega bundle cannot be embedded: it holds the end of a script element")
    with suppress(OSError):  # a home that cannot be written to costs two seconds the next time
        write_atomically(kept, f"{_checksum(bundle)}\n{bundle}")
    return bundle


def _checksum(content: str) -> str:
    return f"// sha256 {hashlib.sha256(content.encode()).hexdigest()}"


def versions() -> dict[str, str]:
    numbers = {}
    for package in ("byoc-sagemaker", "altair", "vl-convert-python"):
        try:
            numbers[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            numbers[package] = "unknown version"
    return numbers


def redact(name: str, value: str) -> str:
    """Hides values of settings that look like secrets: a report is made to be handed on."""
    upper = name.upper()
    secret = any(
        word in upper
        for word in ("SECRET", "PASSWORD", "PASSWD", "TOKEN", "API_KEY", "APIKEY", "CREDENTIAL", "ACCESS_KEY")
    )
    return "•••••• (hidden: looks like a secret)" if secret else value


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `a.b: c` lines for a table."""
    rows: dict[str, str] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            rows |= flat(item, f"{name}.")
        elif isinstance(item, list):
            rows[name] = redact(name, ", ".join(str(part) for part in item) or "none")
        else:
            rows[name] = redact(name, words.NOT_KNOWN if item is None else str(item))
    return rows
