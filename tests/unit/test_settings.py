"""Settings from clients: every bad value is named, and costs nothing but itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuralforge_server.settings import Settings, describe, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["completion", "log", "exclude", "max_lines", "profile", "x"]),
            inner,
            max_size=4,
        )
    ),
)


@pytest.mark.parametrize("raw", [None, {}, {"neuralforge": {}}, {"completion": None}])
def test_nothing_given_is_all_defaults(raw: Any) -> None:
    assert parse(raw) == (Settings(), [])


def test_good_values_are_taken_with_and_without_the_section_name() -> None:
    raw = {
        "completion": {"max_lines": 3.0, "enabled": False},
        "learning": {"idle_seconds": 1, "arm": "replay"},
        "log": {"exclude": ["*.key"]},
        "profile": "work",
    }
    settings, problems = parse({"neuralforge": raw})
    assert not problems and (settings, []) == parse(raw)
    assert (settings.completion.max_lines, settings.completion.enabled) == (3, False)
    assert (settings.learning.idle_seconds, settings.learning.arm) == (1.0, "replay")
    assert (settings.log.exclude, settings.profile) == (("*.key",), "work")


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"completion": {"max_lines": 0}}, "neuralforge.completion.max_lines is 0"),
        ({"completion": {"max_lines": True}}, "neuralforge.completion.max_lines is True"),
        ({"completion": {"enabled": "yes"}}, "'yes', but must be true or false"),
        ({"learning": {"arm": "all"}}, "one of 'none', 'replay', 'ewc', 'both'"),
        ({"log": {"exclude": "*.key"}}, "list of strings"),
        ({"log": {"max_mb": float("nan")}}, "neuralforge.log.max_mb is nan"),
        ({"engine": 7}, "neuralforge.engine must be an object, not 7"),
        ({"completions": {}}, "neuralforge.completions is no setting"),
        ({"stacks": {"python": "team"}}, "object of lists of strings"),
        ({"stacks": ["team"]}, "neuralforge.stacks is ['team']"),
        ([1], "neuralforge must be an object"),
    ],
)
def test_a_bad_value_is_named_and_its_default_stands(raw: Any, named: str) -> None:
    settings, problems = parse(raw)
    assert settings == Settings()
    assert len(problems) == 1 and named in problems[0]


def test_stacks_are_lists_of_adapters_by_language_or_pattern() -> None:
    settings, problems = parse({"stacks": {"python": ["team@v0002", "mine*0.5"], "*.sql": []}})
    assert problems == []
    assert settings.stacks == {"python": ("team@v0002", "mine*0.5"), "*.sql": ()}


def test_only_what_the_engine_loads_restarts_it() -> None:
    engine = Settings().engine
    assert not replace(engine, idle_minutes=1.0).restarts(engine)
    assert replace(engine, batch=64).restarts(engine)


def test_a_bad_value_does_not_cost_its_neighbours() -> None:
    settings, problems = parse({"completion": {"max_lines": 99, "max_tokens": 7}})
    assert settings.completion.max_tokens == 7 and len(problems) == 1


@given(JSON)
def test_no_json_value_makes_parsing_fail(raw: Any) -> None:
    settings, _ = parse(raw)
    assert isinstance(settings, Settings) and 1 <= settings.completion.max_lines <= 20


def test_every_setting_is_described() -> None:
    rows = describe()
    assert {"neuralforge.profile", "neuralforge.learning.arm"} <= {r["name"] for r in rows}
    assert all(r["description"].endswith(".") for r in rows)
