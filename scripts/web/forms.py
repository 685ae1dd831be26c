"""Forms for a training job, a tuning job and an endpoint, made of the definitions of what can be set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any, Final, get_origin, get_type_hints

from contract.errors import NOT_FOUND, ByocError
from contract.hyperparameters import HYPERPARAMETERS, Hyperparameter
from report.read.listing import of_kind
from scripts import state
from scripts.ranges import Range, text_of
from scripts.settings import Debugger, Deploy, Profiler, Settings, Train, Tune

if TYPE_CHECKING:
    from scripts.web.session import Session

# What most people set; the rest is folded away.
FIRST: Final = ("arch", "weights", "epochs", "batch_size", "lr", "image_size", "augment")
_FIRST_OF: Final = {
    "train": ("instance_type", "instance_count", "spot", "max_minutes"),
    "debugger": ("enabled", "stop"),
    "tune": ("jobs", "parallel", "strategy", "objective", "early_stopping", "stop_hopeless"),
}
_SCALES: Final = {"Logarithmic": ":log", "Linear": ":linear", "ReverseLogarithmic": ":reverse_log"}


def form(session: Session, kind: str) -> dict[str, Any]:
    """The groups of fields of `train`, `tune` or `deploy`, with the values that byoc.toml gives."""
    settings = session.settings
    if kind == "train":
        groups = [
            {"title": "Hyperparameters", "fields": _hyperparameters(settings.hyperparameters, ())},
            _group("Machine", "train", Train, settings.train),
            _group("Debugger", "debugger", Debugger, settings.debugger),
            _group("Profiler", "profiler", Profiler, settings.profiler),
        ]
        return {
            "title": "Train a model",
            "kind": kind,
            "groups": groups,
            "tunings": _names(session, "tuning"),
        }
    if kind == "tune":
        fixed = {**settings.hyperparameters, **settings.tune.hyperparameters}
        groups = [
            {"title": "Ranges", "fields": _ranges(settings)},
            _group("Search", "tune", Tune, settings.tune),
            {
                "title": "The same in all trials",
                "fields": _hyperparameters(fixed, settings.tune.ranges, "tune.hyperparameters"),
            },
            _group("Machine of each trial", "train", Train, settings.train),
        ]
        return {"title": "Tune hyperparameters", "kind": kind, "groups": groups}
    if kind == "deploy":
        return {
            "title": "Deploy a model",
            "kind": kind,
            "groups": [],
            "jobs": _names(session, "training", ("Completed", "Stopped")),
            "job": _last_job(settings),
            "endpoint": settings.endpoint_name,
            "machine": settings.deploy.instance_type,
            "count": settings.deploy.instance_count,
            "endpoints": {item["name"]: item["status"] for item in of_kind(session.clients, "endpoint", 100)},
            "pattern": _field_of(Deploy, "endpoint").metadata["pattern"],
        }
    raise ByocError(f"There is no form {kind}.", "There are train, tune and deploy.", code=NOT_FOUND)


def _names(session: Session, kind: str, statuses: Iterable[str] = ("Completed", "Stopped")) -> list[str]:
    listed = of_kind(session.clients, kind, 100)
    return [item["name"] for item in listed if item["status"] in statuses]


def _last_job(settings: Settings) -> str | None:
    """The training job that this folder started last."""
    return state.read(settings).get("training_job")


def _field_of(kind: Any, name: str) -> Field[Any]:
    return next(item for item in fields(kind) if item.name == name)


def _hyperparameters(
    values: Mapping[str, Any], varied: Iterable[str], section: str = "hyperparameters"
) -> list[dict[str, Any]]:
    listed = [_hyperparameter(item, values, section) for item in HYPERPARAMETERS if item.name not in varied]
    return sorted(listed, key=lambda item: FIRST.index(item["label"]) if item["first"] else len(FIRST))


def _hyperparameter(item: Hyperparameter, values: Mapping[str, Any], section: str) -> dict[str, Any]:
    kind = {int: "int", float: "float", bool: "bool", str: "text"}[item.type]
    return {
        "key": f"{section}.{item.name}",
        "label": item.name,
        "help": item.help,
        "type": "choice" if item.choices else kind,
        "value": text_of(values.get(item.name, item.default)),
        "choices": list(item.choices),
        "minimum": item.low,
        "maximum": item.high,
        "pattern": "",
        "form": item.allowed,
        "first": item.name in FIRST,
    }


def _ranges(settings: Settings) -> list[dict[str, Any]]:
    """Every tunable hyperparameter; an empty field is not varied."""
    names = [item.name for item in HYPERPARAMETERS if item.tunable]
    names = [*settings.tune.ranges, *(name for name in names if name not in settings.tune.ranges)]
    defined = {item.name: item for item in HYPERPARAMETERS}
    return [
        {
            "key": f"ranges.{name}",
            "label": name,
            "help": defined[name].help if name in defined else "",
            "type": "text",
            "value": range_text(settings.tune.ranges[name]) if name in settings.tune.ranges else "",
            "choices": [],
            "minimum": None,
            "maximum": None,
            "pattern": "",
            "form": "as in 0.0001:0.1:log, or a list as in 16, 32, 64; empty: not varied",
            "first": name in settings.tune.ranges,
            # One of byoc.toml cannot be left out here.
            "required": name in settings.tune.ranges,
        }
        for name in names
    ]


def range_text(item: Range) -> str:
    """As `byoc tune --range` takes it."""
    if item.categorical:
        return ", ".join(item.values)
    return f"{item.minimum:g}:{item.maximum:g}{_SCALES.get(item.scale, '')}"


def _group(title: str, section: str, kind: Any, values: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    shown = []
    for item in fields(kind):
        hint, rules = hints[item.name], item.metadata
        listed = get_origin(hint) is tuple
        if not listed and hint not in (int, float, bool, str):
            continue  # tables, which byoc.toml has
        value = getattr(values, item.name)
        assert item.default is not MISSING
        types = {int: "int", float: "float", bool: "bool", str: "text"}
        shown.append(
            {
                "key": f"{section}.{item.name}",
                "label": item.name,
                "help": rules["help"],
                "type": "list" if listed else "choice" if rules["choices"] else types[hint],
                "value": ", ".join(value) if listed else text_of(value),
                "choices": [text_of(choice) for choice in rules["choices"]],
                "minimum": rules["minimum"],
                "maximum": rules["maximum"],
                "pattern": rules["pattern"],
                "form": rules["form"],
                "first": item.name in _FIRST_OF.get(section, ()),
            }
        )
    return {"title": title, "help": (kind.__doc__ or "").strip(), "fields": shown}


def sets_of(values: Mapping[str, Any]) -> list[str]:
    """`--set` options of what a form sends: key → text, or a list of texts.

    Raises:
        ByocError: it sends something else.
    """
    import json

    sets = []
    for key, value in values.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            sets.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
        elif isinstance(value, str):
            sets.append(f"{key}={value.strip()}")
        else:
            raise ByocError(f"The form sent {key} = {value!r}, which is no text.", kind="BadForm")
    return sets
