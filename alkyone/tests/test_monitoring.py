"""The alert rules and the Grafana dashboard: PromQL throughout, about metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import promql_parser as promql
import pytest
import yaml  # type: ignore[import-untyped]

from atlas.metrics import MEASURES

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = orjson.loads((FOLDER / "grafana.json").read_bytes())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES] + [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
LABELS = {measure.name: set(measure.labels) for measure in MEASURES}
DURATION = re.compile(r"\d+(ms|[smhdwy])")


def selectors(expression: str) -> list[Any]:
    """Every choice of series in a PromQL expression."""
    found: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(promql.parse(expression), visit)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_promql_about_metrics_and_labels_that_there_are(expression: str) -> None:
    chosen = selectors(expression)
    assert chosen
    for selector in chosen:
        assert selector.name in LABELS
        assert set(re.findall(r"(\w+)(?:=~|!~|!=|=)", str(selector.matchers))) <= LABELS[selector.name]


def test_what_is_no_promql_or_no_metric_of_ours_would_be_noticed() -> None:
    with pytest.raises(Exception, match="unclosed left parenthesis"):
        promql.parse("sum(pleiades_up")
    assert selectors("pleiades_dwon == 0")[0].name not in LABELS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_has_the_form_that_prometheus_reads(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
    assert re.fullmatch(r"Pleiades\w+", rule["alert"])
    assert DURATION.fullmatch(rule.get("for", "0s"))
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    told = rule["annotations"]["summary"]
    given = set().union(*(LABELS[selector.name] for selector in selectors(rule["expr"])))
    assert set(re.findall(r"\$labels\.(\w+)", told)) <= given
    assert set(re.findall(r"\$value \| (\w+)", told)) <= {"humanize", "humanize1024", "humanizeDuration"}


def test_rules_are_told_apart_by_their_names() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


def test_every_metric_is_on_the_dashboard_or_in_a_rule() -> None:
    used = {selector.name for parameter in EXPRESSIONS for selector in selectors(str(parameter.values[0]))}
    assert LABELS.keys() - used == set()


def test_the_dashboard_asks_one_data_source_that_the_reader_chooses_and_its_panels_do_not_overlap() -> None:
    (chosen,) = DASHBOARD["templating"]["list"]
    assert (chosen["type"], chosen["query"]) == ("datasource", "prometheus")
    sources = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert sources == {f"${{{chosen['name']}}}"}
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= taken
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
