"""Preferences are told from what the server records while a user dismisses, accepts and edits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from desk import Desk
from git_maker import GitMaker, isolate
from neuralforge_server.session.log import SessionLog
from neuralforge_server.session.preferences import Change as Edit
from neuralforge_server.session.preferences import became

HEAD = "import ships\n\n\ndef depart(fleet):\n    "


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SessionLog]:
    with SessionLog.open(tmp_path / "session.db") as opened:
        yield opened


@pytest.fixture
def desk(log: SessionLog, tmp_path: Path) -> Desk:
    return Desk(log, tmp_path / "harbour.py", HEAD)


def test_what_was_typed_instead_is_preferred_to_what_was_dismissed(
    log: SessionLog, desk: Desk
) -> None:
    desk.suggest("return fleet.sail()")
    desk.type("yield from ships.sorted(fleet)\n    fleet.clear()")
    desk.leave()
    (found,) = log.preferences()
    assert (found.rejected, found.chosen) == (
        "return fleet.sail()",
        "yield from ships.sorted(fleet)",  # as many lines as were suggested
    )
    assert found.prefix == HEAD
    assert found.language == "python"


def test_what_an_accepted_text_was_changed_into_is_preferred_to_it(
    log: SessionLog, desk: Desk
) -> None:
    text = "return fleet.sail(north)"
    desk.accept(desk.suggest(text), text)
    at = desk.text.index("north")
    desk.put(at, len("north"), "south")
    desk.leave()
    (found,) = log.preferences()
    assert (found.rejected, found.chosen) == (text, "return fleet.sail(south)")


def test_it_is_found_too_where_the_acceptance_had_settled_before_the_change(
    log: SessionLog, desk: Desk
) -> None:
    text = "for ship in fleet:"
    desk.accept(desk.suggest(text), text)
    desk.put(0, 0, "# the harbour\n")  # another place: the first edit settles
    desk.put(desk.text.index("ship in"), len("ship"), "vessel")
    desk.leave()
    (found,) = log.preferences()
    assert (found.rejected, found.chosen) == (text, "for vessel in fleet:")


@pytest.mark.parametrize("typed", ["return fleet.sail()", "return fleet.sail() or None", "return"])
def test_a_text_that_only_goes_on_or_stops_short_is_no_preference(
    log: SessionLog, desk: Desk, typed: str
) -> None:
    desk.suggest("return fleet.sail()")
    desk.put(len(desk.text), 0, "#")
    desk.put(len(desk.text) - 1, 1, "")
    desk.type(typed)
    desk.leave()
    assert log.preferences() == []


def test_a_text_that_stayed_as_it_was_accepted_is_no_preference(
    log: SessionLog, desk: Desk
) -> None:
    text = "return fleet.sail(north)"
    desk.accept(desk.suggest(text), text)
    desk.type("\n\n\ndef arrive():\n    pass")
    desk.leave()
    assert log.preferences() == []


def test_a_secret_and_a_repository_without_consent_give_none(
    log: SessionLog, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    desk.suggest("key = None")
    desk.type('key = "AKIAIOSFODNN7REALKEY"')
    desk.leave()
    assert log.preferences() == []
    GitMaker(tmp_path / "mine").commit({"a.py": HEAD})
    other = Desk(log, tmp_path / "mine" / "a.py", HEAD)
    other.suggest("return fleet.sail()")
    other.type("yield 1")
    other.leave()
    assert log.preferences() == []
    log.set_consent(tmp_path / "mine", "yes")
    assert [found.chosen for found in log.preferences()] == ["yield 1"]


def test_several_changes_of_one_text_lead_to_its_last_form() -> None:
    changes = [
        Edit("x = 1\ny = ", "", "pick(a)", "\n"),
        Edit("x = 1\ny = pick(", "a", "b", ")\n"),
        Edit("x = ", "1", "2", "\ny = pick(b)\n"),
        Edit("x = 2\ny = ", "pick", "choose", "(b)\n"),
    ]
    assert became("pick(a)", "\ny = ", changes) == "choose(b)"


def test_a_place_that_cannot_be_told_apart_gives_nothing() -> None:
    twice = Edit("y = f(a)\ny = f(", "a", "b", ")\n")
    assert became("f(a)", "y = ", [twice]) is None
    assert became("f(a)", "z = ", [twice]) is None
