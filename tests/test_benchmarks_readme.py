"""README.md says under its picture what the runs of its commands came to."""

import json
from copy import deepcopy

from selftuning.benchmarks import readme_picture, record
from selftuning.configs import cli

README = (record.DOCS.parent / "README.md").read_text()
KNOWN = json.loads((record.RESULTS / "readme.json").read_text())


def test_the_caption_is_what_was_found():
    said = README.partition("<!-- readme -->")[2].partition("<!-- end -->")[0]
    assert said.strip() == readme_picture.paragraph(KNOWN)
    assert record.with_table(README, "readme", readme_picture.paragraph(KNOWN)) == README


def test_what_was_found_is_of_the_commands_that_stand_there():
    for command, result in zip(
        readme_picture.commands(README).values(), (KNOWN["adapts"], KNOWN["keeps"]), strict=True
    ):
        settings = cli.parse(command.split()[2:]).settings
        assert settings.steps <= result["env_steps"] < 1.03 * settings.steps
        tuned = {n for n, x in settings.in_use.items() if x.tuned}
        assert set(result["moved"]) == (tuned if settings.tuning.method != "none" else set())
        for name, moved in result["moved"].items():
            assert moved["start"] == settings.hyperparameters[name].start
    gallery = (record.DOCS / "gallery.md").read_text()
    assert next(iter(readme_picture.commands(README).values())).strip() in gallery


def test_runs_that_say_something_else_are_found():
    assert readme_picture.differences(KNOWN, KNOWN) == []
    for change in ({"last_100_return": 400.0}, {"solved_at_env_steps": None}):
        other = deepcopy(KNOWN)
        other["adapts"] |= change
        assert len(readme_picture.differences(KNOWN, other)) == 1
    other["keeps"]["solved_at_env_steps"] = 200_000
    assert len(readme_picture.differences(KNOWN, other)) == 2
