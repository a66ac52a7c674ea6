"""What the user sets about keeping what was learnt reaches the trainer, under its own names."""

from __future__ import annotations

import json

from neuralforge_server.learning.trainer_process import arguments
from neuralforge_server.learning.trigger import Job
from neuralforge_server.settings import LearningSettings
from neuralforge_trainer.settings import JobSettings, make_settings


def test_the_servers_defaults_are_the_trainers() -> None:
    assert make_settings(LearningSettings().memory) == JobSettings()


def test_what_is_set_stands_in_the_trainers_command_line() -> None:
    settings = LearningSettings(replay_capacity=50, progressive=True, min_preferences=7)
    words = arguments(Job(), settings, None)
    given = make_settings(json.loads(words[words.index("--set") + 1]))
    assert (given.replay_capacity, given.progressive, given.least_preferences) == (50, True, 7)
