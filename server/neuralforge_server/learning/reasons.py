"""Why no training is at work, in words for the user.

Invariant: where `trigger.decide` would start one, the reason is that one is about to start. Pure;
knows no clock, no file and no process.
"""

from __future__ import annotations

from collections.abc import Sequence

from neuralforge_server.learning.trainer_process import HOW_TO_ADD
from neuralforge_server.learning.trigger import Facts, decide, hindrance
from neuralforge_server.settings import LearningSettings


def why_none(settings: LearningSettings, facts: Facts, missing: Sequence[str]) -> str:
    """The first reason that holds; empty while a training is at work.

    Args:
        missing: packages that training needs and that are not installed.
    """
    if facts.running:
        return ""
    if missing:
        return f"training needs {', '.join(missing)}: {HOW_TO_ADD}"
    if why := hindrance(settings, facts):
        return why
    if decide(settings, facts) is not None:
        return "a training is about to start"
    return f"there is too little to learn from: {_little(settings, facts)}"


def _little(settings: LearningSettings, facts: Facts) -> str:
    samples = f"{facts.new_samples} new samples of {settings.min_new_samples}"
    if not facts.new_commits:
        return f"{samples}, and no repository that said yes"
    most = max(count or 0 for count in facts.new_commits.values())
    return f"{samples}, and {most} new commits of {settings.min_new_commits}"
