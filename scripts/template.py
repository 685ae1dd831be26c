"""A commented byoc.toml, written from the definitions: complete, and never out of date."""

from __future__ import annotations

import json
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from contract.errors import ByocError
from contract.hyperparameters import HYPERPARAMETERS, Hyperparameter
from scripts.ranges import Range, number_or_text
from scripts.settings import Project, Settings, defaults_of, load

WIDTH = 100
_CHOICES_SHOWN = 6
_HEAD = """\
# Settings of `byoc`. A line that begins with # and no space shows a default.
# Any of them can be given on the command line: byoc train --set train.instance_type=ml.g5.xlarge
# Delete endpoint_url, and the same commands run on AWS.
"""
DIGITS: Mapping[str, Any] = {
    "project": {"name": "digits"},
    "data": {"folder": "digits"},
    # Handwriting at 32 pixels: from nothing, and mirrored digits are other digits.
    "hyperparameters": {
        "arch": "resnet18",
        "weights": "none",
        "image_size": 32,
        "augment": "crop",
        "epochs": 8,
        "seed": 1,
    },
    "tune": {"jobs": 4, "parallel": 2, "hyperparameters": {"epochs": 2, "save_model": False}},
}


def render(chosen: Mapping[str, Mapping[str, Any]]) -> str:
    """The file's text; `chosen` (section → key → value) is set, everything else is shown as a comment."""
    parts = [_HEAD]
    hints = get_type_hints(Settings)
    for section in (item.name for item in fields(Settings)):
        values = chosen.get(section, {})
        if section == "hyperparameters":
            parts.append(_hyperparameters(values))
        elif is_dataclass(hints[section]):
            parts.append(_section(section, hints[section], values))
    return "\n".join(parts)


def nested(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Section → key → value, as `render` takes them, of settings by name: {"train.spot": True, "lr": 0.1}."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        section, *path, name = key.split(".") if "." in key else ("hyperparameters", key)
        table = sections.setdefault(section, {})
        for part in path:
            table = table.setdefault(part, {})
        table[name] = value
    return sections


def write(file: Path, text: str, overrides: Iterable[str] = ()) -> None:
    """Write byoc.toml, but only if it, and `overrides` as in `load`, hold what settings may be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.new")
    try:
        aside.write_text(text, encoding="utf-8")
        load(aside, overrides, environment={})
        aside.replace(file)
    except ByocError as error:  # name the user's file, not the temporary one
        message = error.message.replace(str(aside), str(file))
        raise ByocError(message, error.remedy, code=error.code, kind=error.kind) from None
    finally:
        aside.unlink(missing_ok=True)


def project_name(folder: str) -> str:
    """What of a folder's name may begin the names of jobs; the default project's name if nothing may."""
    [item] = (item for item in fields(Project) if item.name == "name")
    plain = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
    name = re.match(item.metadata["pattern"], re.sub(r"[^a-zA-Z0-9]+", "-", plain).lstrip("-"))
    return name[0] if name else Project().name


def _section(name: str, kind: Any, values: Mapping[str, Any]) -> str:
    lines = [f"# {(kind.__doc__ or '').strip()}.", f"[{name}]"]
    ranges = None
    for key, (default, help_text) in defaults_of(kind).items():
        if key == "ranges":
            ranges = {**values.get(key, default)}
            continue
        lines += _line(key, values.get(key, default), help_text, active=key in values)
    if ranges is not None:
        lines += ["", "# An interval {min, max, scale = linear | log | reverse_log} or a list of values."]
        lines += [f"[{name}.ranges]", *(f"{key} = {toml_value(value)}" for key, value in ranges.items())]
    return "\n".join(lines) + "\n"


def _hyperparameters(values: Mapping[str, Any]) -> str:
    lines = ["# What the trainer gets.", "[hyperparameters]"]
    for item in HYPERPARAMETERS:
        value = values.get(item.name, item.default)
        lines += _line(item.name, value, item.help + _choices(item), active=item.name in values)
    return "\n".join(lines) + "\n"


def _choices(item: Hyperparameter) -> str:
    if not item.choices:
        return ""
    shown = ", ".join(item.choices[:_CHOICES_SHOWN])
    more = len(item.choices) - _CHOICES_SHOWN
    return f" ({shown}{f', or one of the {more} other classifiers of torchvision' if more > 0 else ''})"


def _line(key: str, value: Any, help_text: str, *, active: bool) -> list[str]:
    sign = "" if active else "#"
    line = f"{sign}{key} = {toml_value(value)}"
    if len(line) < 34 and len(help_text) + 38 <= WIDTH:
        return [f"{line:<36}# {help_text}"]
    prose = textwrap.wrap(help_text, WIDTH, initial_indent="# ", subsequent_indent="# ")
    if len(line) <= WIDTH:
        return [*prose, line]
    if isinstance(value, Mapping):  # TOML 1.0 wants an inline table on one line: set each key by itself
        return [*prose, *(f"{sign}{key}.{_key(name)} = {toml_value(item)}" for name, item in value.items())]
    return [*prose, f"{sign}{key} = [", *(f"{sign}{toml_value(item)}," for item in value), f"{sign}]"]


def toml_value(value: Any) -> str:
    """A value as TOML writes it; a Range as byoc.toml has it."""
    if isinstance(value, Range):
        if value.categorical:
            return f"[{', '.join(toml_value(number_or_text(item)) for item in value.values)}]"
        scale = {"Logarithmic": "log", "Linear": "linear", "ReverseLogarithmic": "reverse_log"}.get(
            value.scale, "auto"
        )
        return f'{{min = {value.minimum}, max = {value.maximum}, scale = "{scale}"}}'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)
