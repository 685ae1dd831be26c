"""CloudWatch, as far as it shows what jobs measured: the metrics that a training job's log holds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from local import pagetokens, series
from local.config import Config
from local.errors import (
    InvalidNextToken,
    InvalidParameterCombination,
    InvalidParameterValue,
    ValidationError,
)
from local.store import Document, Store

Request = dict[str, Any]

_STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
_PERCENTILE = re.compile(r"p(\d{1,2}(\.\d{1,10})?|100)")
_SHORT_PERIODS = (1, 5, 10, 20, 30)  # seconds; longer ones are whole minutes
_MOST_STATISTICS = 1440  # data points of GetMetricStatistics
_MOST_DATA = 100_800  # of GetMetricData
_MOST_QUERIES = 500
_MOST_LISTED = 500
_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")
_DAY = 86_400
_RECENT = 3 * 3600  # PT3H


class Metrics:
    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store

    def GetMetricStatistics(self, request: Request) -> dict[str, Any]:
        names = request.get("Statistics", []) + request.get("ExtendedStatistics", [])
        if not names or ("Statistics" in request and "ExtendedStatistics" in request):
            raise InvalidParameterCombination(
                "Give either Statistics or ExtendedStatistics: at least one, and not both."
            )
        period = request["Period"]
        _check_period(period, InvalidParameterValue)
        for name in names:
            _check_statistic(name, InvalidParameterValue)
        start, end = _rounded(request["StartTime"], period), request["EndTime"]
        _check_times(request["StartTime"], end, InvalidParameterCombination)
        most = -(-(end - start) // period)
        if most > _MOST_STATISTICS:
            raise InvalidParameterCombination(
                f"You have requested up to {most:,.0f} datapoints, which exceeds the limit of "
                f"{_MOST_STATISTICS:,}. You may reduce the datapoints requested by increasing Period, or "
                "decreasing the time range."
            )
        values = self._points(request, start, end)
        datapoints = []
        for begin, those in series.periods(values, start, period).items():
            statistics = {name: series.statistic(name, those) for name in names}
            defined = {name: value for name, value in statistics.items() if value is not None}
            if "ExtendedStatistics" in request:
                datapoints.append({"Timestamp": begin, "Unit": "None", "ExtendedStatistics": defined})
            else:
                datapoints.append({"Timestamp": begin, "Unit": "None", **defined})
        return {"Label": request["MetricName"], "Datapoints": datapoints}

    def GetMetricData(self, request: Request) -> dict[str, Any]:
        queries = request["MetricDataQueries"]
        _check_queries(queries)
        start, end = request["StartTime"], request["EndTime"]
        _check_times(start, end, ValidationError)
        descending = request.get("ScanBy") != "TimestampAscending"
        left, skipped = (
            min(request.get("MaxDatapoints", _MOST_DATA), _MOST_DATA),
            pagetokens.read(request.get("NextToken"), _bad_token()),
        )
        if left < 1:
            raise ValidationError(f"MaxDatapoints is {left}, and must be at least 1.")
        results, done = [], 0
        for query in queries:
            if not query.get("ReturnData", True):
                continue
            stat = query["MetricStat"]
            points = self._statistics(stat, start, end)
            if descending:
                points.reverse()
            shown = points[max(0, skipped - done) :][:left]
            before = max(0, min(skipped - done, len(points)))
            left -= len(shown)
            done += len(points)
            results.append(
                {
                    "Id": query["Id"],
                    "Label": query.get("Label", stat["Metric"].get("MetricName", query["Id"])),
                    "Timestamps": [begin for begin, _ in shown],
                    "Values": [value for _, value in shown],
                    "StatusCode": "Complete" if before + len(shown) == len(points) else "PartialData",
                }
            )
        place = skipped + sum(len(result["Values"]) for result in results)
        return {
            "MetricDataResults": results,
            "NextToken": pagetokens.write(place) if place < done else None,
            "Messages": [],
        }

    def ListMetrics(self, request: Request) -> dict[str, Any]:
        wanted = [metric for metric in self._all(request) if _matches(metric, request)]
        shown, token = pagetokens.page(wanted, _MOST_LISTED, request.get("NextToken"), _bad_token())
        return {"Metrics": shown, "NextToken": token}

    def _all(self, request: Request) -> Iterator[dict[str, Any]]:
        """The metrics of every job that has printed a value."""
        recent = time.time() - _RECENT if request.get("RecentlyActive") else 0.0
        for job in self._store.each("training-job"):
            for metric in job.get("FinalMetricDataList", []):
                if metric["Timestamp"] >= recent:
                    yield {
                        "Namespace": series.NAMESPACE,
                        "MetricName": metric["MetricName"],
                        "Dimensions": [{"Name": series.DIMENSION, "Value": job["TrainingJobName"]}],
                    }

    def _statistics(self, stat: Mapping[str, Any], start: float, end: float) -> list[tuple[float, float]]:
        period = stat["Period"]
        begin = start // period * period
        values = self._points({**stat["Metric"], **_unit(stat)}, begin, end)
        computed = (
            (first, series.statistic(stat["Stat"], those))
            for first, those in series.periods(values, begin, period).items()
        )
        return [(first, value) for first, value in computed if value is not None]

    def _points(self, metric: Mapping[str, Any], start: float, end: float) -> Iterator[series.Point]:
        """None for a metric that nobody has measured, as on AWS."""
        job = self._job(metric)
        if job is None or metric.get("Unit", "None") != "None":
            return iter(())
        return series.points(self._config, job, metric["MetricName"], start, end)

    def _job(self, metric: Mapping[str, Any]) -> Document | None:
        dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}
        if metric.get("Namespace") != series.NAMESPACE or set(dimensions) != {series.DIMENSION}:
            return None
        return self._store.get("training-job", dimensions[series.DIMENSION])


def _unit(stat: Mapping[str, Any]) -> dict[str, Any]:
    return {"Unit": stat["Unit"]} if "Unit" in stat else {}


def _matches(metric: Mapping[str, Any], request: Request) -> bool:
    dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
    return (
        request.get("Namespace", metric["Namespace"]) == metric["Namespace"]
        and request.get("MetricName", metric["MetricName"]) == metric["MetricName"]
        and all(
            each["Name"] in dimensions
            and each.get("Value", dimensions[each["Name"]]) == dimensions[each["Name"]]
            for each in request.get("Dimensions", [])
        )
    )


# --- what is refused ----------------------------------------------------------------------------------

_Refusal = type[InvalidParameterValue | InvalidParameterCombination | ValidationError]


def _check_period(period: int, error: _Refusal) -> None:
    if period not in _SHORT_PERIODS and period % 60:
        raise error(f"The parameter Period is {period}, and must be 1, 5, 10, 20, 30 or a multiple of 60.")


def _check_times(start: float, end: float, error: _Refusal) -> None:
    if start >= end:
        raise error("The parameter StartTime must be less than the parameter EndTime.")


def _check_statistic(name: str, error: _Refusal) -> None:
    if name not in _STATISTICS and not _PERCENTILE.fullmatch(name):
        raise error(
            f"The statistic {name!r} is none of {', '.join(_STATISTICS)} and percentiles (p0.0 to p100), "
            "which the local SageMaker computes."
        )


def _check_queries(queries: Sequence[Mapping[str, Any]]) -> None:
    if not 0 < len(queries) <= _MOST_QUERIES:
        raise ValidationError(f"MetricDataQueries has {len(queries)} queries: give 1 to {_MOST_QUERIES}.")
    ids = [query["Id"] for query in queries]
    for query in queries:
        name = query["Id"]
        if not _ID.fullmatch(name):
            raise ValidationError(
                f"The Id {name!r} must begin with a lower-case letter and have letters, digits and _ only."
            )
        if ids.count(name) > 1:
            raise ValidationError(f"The Id {name!r} is there twice: give each query its own.")
        if "Expression" in query:
            raise ValidationError(
                f"The query {name!r} has an Expression: the local SageMaker computes none; give MetricStat."
            )
        if "MetricStat" not in query:
            raise ValidationError(f"The query {name!r} has no MetricStat.")
        _check_period(query["MetricStat"]["Period"], ValidationError)
        _check_statistic(query["MetricStat"]["Stat"], ValidationError)


def _rounded(start: float, period: int) -> float:
    """A start as CloudWatch rounds it down: to whole minutes, coarser for what is long ago."""
    age = time.time() - start
    if age > 63 * _DAY:
        step = 3600
    elif age > 15 * _DAY:
        step = 300
    else:
        step = min(period, 60)
    return start // step * step


# --- pages --------------------------------------------------------------------------------------------


def _bad_token() -> InvalidNextToken:
    return InvalidNextToken("The NextToken is none of this operation's: pass the one of the answer before.")
