"""The table of docs/reliability.md: faults that tests inject, and what became of them.

`pytest -m fault --faults` makes it of what the tests came to. A test says which row it belongs to:

    @pytest.mark.fault("SIGKILL inside a save", "goes on from the checkpoint before")
"""

from collections import defaultdict

from selftuning.benchmarks.record import DOCS, markdown, with_table

PAGE = DOCS / "reliability.md"
HEAD = ("fault", "what is promised", "cases", "survived")
_KEY = "fault"


def properties(item):
    """What a report says of the faults that a test injects."""
    return [(_KEY, list(mark.args)) for mark in item.iter_markers("fault")]


def rows(stats):
    """Rows of the table, from the reports of a session by outcome."""
    cases = defaultdict(list)
    for outcome in ("passed", "failed"):
        for report in stats.get(outcome, []):
            if report.when == "call":
                for key, fault in report.user_properties:
                    if key == _KEY:
                        cases[tuple(fault)].append(outcome == "passed")
    return [(*fault, str(len(of)), str(sum(of))) for fault, of in sorted(cases.items())]


def write_page(stats):
    """Puts the table into the page, and says so."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_table(text, "faults", markdown(HEAD, rows(stats))), encoding="utf-8")
    return f"wrote {PAGE}"
