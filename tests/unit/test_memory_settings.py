"""What the user sets about keeping what was learnt reaches the trainer, under its own names."""

from __future__ import annotations

import json
from pathlib import Path

from neuralforge_server.learning.trainer_process import arguments
from neuralforge_server.learning.trigger import Job
from neuralforge_server.settings import LearningSettings
from neuralforge_trainer.__main__ import _parser
from neuralforge_trainer.settings import JobSettings, make_settings


def test_the_servers_defaults_are_the_trainers() -> None:
    assert make_settings(LearningSettings().memory) == JobSettings()


def test_what_is_set_stands_in_the_trainers_command_line() -> None:
    settings = LearningSettings(replay_capacity=50, progressive=True, min_preferences=7)
    words = arguments(Job(), settings, None)
    given = make_settings(json.loads(words[words.index("--set") + 1]))
    assert (given.replay_capacity, given.progressive, given.least_preferences) == (50, True, 7)


def test_whose_commits_and_which_files_of_them_stands_there_too() -> None:
    for job in (Job(Path("mine")), Job(base=Path("new.gguf"))):
        words = arguments(job, LearningSettings(author="Ada"), None, exclude=("*.sql", "-x"))
        assert {"--own-only", "--author=Ada", "--exclude=*.sql", "--exclude=-x"} <= set(words)
    options = _parser().parse_args(words)
    assert (options.own_only, options.exclude) == (True, ["*.sql", "-x"])
    for job in (Job(), Job(dataset=Path("some.jsonl"))):
        assert "--exclude=*.sql" not in arguments(job, LearningSettings(), None, exclude=("*.sql",))
