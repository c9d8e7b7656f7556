"""Writes results of benchmarks into the tables of docs/: `python -m selftuning.benchmarks.tables`.

A table stands between `<!-- NAME -->` and `<!-- end -->`; NAME says which result it shows.
Numbers in docs/ are typed by nobody, and a test compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from selftuning.benchmarks.cartpole import FIXED
from selftuning.benchmarks.record import DOCS, RESULTS

PAGES = (
    "benchmarks.md",
    "choosing.md",
    "digits.md",
    "learning-rate.md",
    "meta-gradients.md",
    "performance.md",
    "tuning.md",
    "two-colors.md",
)
_TABLE = re.compile(r"(<!-- ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _spread(triple: list[float], unit: float = 1.0, suffix: str = "", digits: int = 0) -> str:
    middle, low, high = (f"{x / unit:.{digits}f}" for x in triple)
    return f"{middle}{suffix} [{low}, {high}]"


def _change(triple: list[float]) -> str:
    """Percents with their signs."""
    middle, low, high = triple
    return f"{middle:+.1f}% [{low:+.1f}, {high:+.1f}]"


def _learning(result: dict[str, Any]) -> str:
    seeds = result["seeds"]
    head = (
        "`--meta`",
        "solved within 250k",
        "solved at, median",
        "slowest",
        "greedy mean of 475 at, median",
        "last tenth of 500k steps above 450",
        "worst last tenth",
    )
    rows = (
        (
            method,
            f"{row['solved_within_250k']} of {seeds}",
            _spread(row["solved_at"], 1e3, "k"),
            f"{row['solved_at_slowest'] / 1e3:.0f}k",
            _spread(row["greedy_at"], 1e3, "k"),
            f"{row['last_tenth_above_450']} of {seeds}",
            f"{row['last_tenth_worst']:.0f}",
        )
        for method, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _starts(result: dict[str, Any]) -> str:
    head = ("", "last tenth", "its worst start", "whole run", "its worst start", "its best start")
    rows = (
        (
            name,
            _spread(row["last_tenth"]),
            f"{min(row['last_tenth_by_start']):.0f}",
            _spread(row["whole_run"]),
            f"{min(row['whole_run_by_start']):.0f}",
            f"{max(row['whole_run_by_start']):.0f}",
        )
        if name != FIXED
        else (name, _spread(row["last_tenth"]), "", _spread(row["whole_run"]), "", "")
        for name, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _methods(result: dict[str, Any]) -> str:
    """Members and the best of them, of eight runs for each seed and of searches."""
    head = (
        "",
        "steps of a seed",
        "last tenth, mean",
        "worst start",
        "whole run, mean",
        "last tenth, best",
        "worst seed",
        "whole run, best",
        "solved",
        "steps to solve, median",
    )
    rows = (
        (
            name,
            _millions(row["env_steps"]),
            _spread(row["last_tenth"]),
            _whole_number(row.get("worst_start")),
            _spread(row["whole_run"]),
            _spread(row["best_last_tenth"]),
            f"{row['best_worst_seed']:.0f}",
            _spread(row["best_whole_run"]),
            f"{row['solved']} of {row['runs']}",
            "never" if row["solved_at"] is None else f"{row['solved_at'] / 1e3:.0f}k",
        )
        for name, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _options(result: dict[str, Any]) -> str:
    head = ("", "last tenth", "its worst start", "whole run", "solved", "steps to solve, median")
    rows = (
        (
            name,
            _spread(row["last_tenth"]),
            _whole_number(row["worst_start"]),
            _spread(row["whole_run"]),
            f"{row['solved']} of {row['runs']}",
            "never" if row["solved_at"] is None else f"{row['solved_at'] / 1e3:.0f}k",
        )
        for name, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _millions(steps: int) -> str:
    return f"{steps / 1e6:.1f}M"


def _whole_number(x: float | None) -> str:
    return "" if x is None else f"{x:.0f}"


def _two_colors_speed(result: dict[str, Any]) -> str:
    head = ("", "steps/s of all seeds", "of `none`", "MFLOP a step", "of the peak", "compile, s")
    rows = (
        (
            name,
            f"{row['steps_per_second'] / 1e3:.1f}k",
            f"{row['of_plain']:.2f}",
            f"{row['flops_per_step'] / 1e6:.2f}",
            f"{100 * row['of_peak']:.0f}%",
            f"{row['compile_seconds']:.1f}",
        )
        for name, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _maybe_spread(interval: dict[str, Any], digits: int) -> str:
    """A number, with its interval unless a single run tells of none."""
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if low is None:
        return f"{value:.{digits}f}"
    return _spread([value, low, high], digits=digits)


def _two_colors(result: dict[str, Any]) -> str:
    """two-colors/summary.json of a study beside what is published for ten million steps."""
    published = result["published"]["rows"]
    baseline = result["baseline"]

    def cells(name: str, row: dict[str, Any]) -> Iterable[str]:
        mean, ratio, recovery = row["mean"], row["ratio_to_baseline"], row["recovery"]
        theirs = published.get(row["method"])
        fixed = row["hyperparameter"]["fixed_at"] is not None
        shown = theirs is not None and (not fixed or name == baseline)
        sd = "" if row["sd"] is None else f" ({row['sd'] * row['env_steps'] / 1e6:.3f})"
        to_baseline = "1" if name == baseline else ""
        return (
            row["label"],
            _maybe_spread(mean, digits=3),
            to_baseline if ratio is None else _maybe_spread(ratio, digits=2),
            f"{row['last_tenth']['value']:.3f}",
            f"{100 * row['share_of_ceiling']:.0f}%",
            "" if recovery is None else f"{recovery['steps']['value'] / 1e3:.0f}k",
            f"{row['mean_total_reward'] / 1e6:.3f}{sd}",
            f"{theirs['mean']:.2f} ({theirs['sd']:.2f})" if shown else "",
        )

    head = (
        "",
        "reward a step",
        "to the best fixed weight",
        "last tenth",
        "of the ceiling",
        "steps to recover",
        "total, millions (sd)",
        "published total at 10M (sd)",
    )
    return _markdown(head, (cells(name, row) for name, row in result["rows"].items()))


def _learning_rate(result: dict[str, Any]) -> str:
    head = ("last tenth (worst seed); whole run", *(f"{x:g}" for x in result["starts"]))
    rows = (
        (
            name,
            *(
                f"{last[0]:.0f} ({worst:.0f}); {whole[0]:.0f}"
                for last, worst, whole in zip(
                    row["last_tenth"], row["worst_last_tenth"], row["whole_run"], strict=True
                )
            ),
        )
        for name, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _learning_rate_paths(result: dict[str, Any]) -> str:
    """Medians over seeds of what was tuned: after a tenth, half and all of the run."""
    head = ("", "", *(f"{x:g}" for x in result["starts"]))
    rows = (
        (name, tuned, *(" → ".join(start) for start in zip(*_parts(path), strict=True)))
        for name, row in result["rows"].items()
        for tuned, path in row["hyperparameters"].items()
    )
    return _markdown(head, rows)


def _parts(path: dict[str, list[float]]) -> list[list[str]]:
    return [[f"{x:.2g}" for x in path[part]] for part in ("tenth", "half", "end")]


def _speed(result: dict[str, Any]) -> str:
    rows = (
        (
            name,
            f"{row['steps_per_second'] / 1e3:.0f}k",
            f"{row['of_plain']:.2f}",
            f"{row['compile_seconds']:.1f}",
        )
        for name, row in result["rows"].items()
    )
    return _markdown(("", "steps/s, median", "of `none`, median ratio", "compile, s"), rows)


def _host(result: dict[str, Any]) -> str:
    rows = (
        (
            backend,
            ", ".join(f"{x / 1e3:.0f}k" for x in row["solved_at"]),
            ", ".join(f"{x:.0f}" for x in row["last_tenth"]),
            f"{row['steps_per_second'] / 1e3:.1f}k",
        )
        for backend, row in result["rows"].items()
    )
    return _markdown(("`--backend`", "solved at, each seed", "last tenth", "steps/s"), rows)


def _signals(result: dict[str, Any]) -> str:
    head = ("", "gamma", "lambda", "entropy", "critic", "gamma raised", "gamma, largest / median")
    rows = (
        (
            name,
            *(
                f"{row[h]['signal_to_noise']:+.2f}"
                for h in ("gamma", "lambda", "entropy", "critic")
            ),
            f"{100 * row['gamma']['raises']:.0f}%",
            f"{row['gamma']['largest_over_median']:.0f}",
        )
        for name, row in result["signals"].items()
    )
    return _markdown(head, rows)


def _drift(result: dict[str, Any]) -> str:
    head = ("matching", "gamma", "lambda", "entropy", "critic")
    rows = ((name, *(f"{row[h]:.3g}" for h in head[1:])) for name, row in result["drift"].items())
    return _markdown(head, rows)


def _online_learners(result: dict[str, Any]) -> str:
    parts = ("vector", "tensors", "scan")
    rows = (
        (name, f"{row['vector']['milliseconds']:.2f}", *(f"{row[p]['of_adam']:.2f}" for p in parts))
        for name, row in result["rows"].items()
    )
    head = ("", "one vector, ms a step", "of Adam's", "20 tensors, of Adam's", "scan, of Adam's")
    return _markdown(head, rows)


def _digits(result: dict[str, Any]) -> str:
    head = (
        "",
        "gradients a step",
        "µs a step",
        "chosen rate; meta",
        "training loss, whole run",
        "of the training set at the end",
        "test accuracy",
        "whole run, against SGD",
        "against standard",
    )
    rows = (
        (
            name,
            str(row["gradients"]),
            f"{row['microseconds']:.0f}",
            f"{row['rate']:.2g}" + (f"; {row['meta_rate']:.2g}" if row["meta_rate"] else ""),
            _spread(row["cumulative"], digits=3),
            _spread(row["final"], digits=4),
            _spread(row["accuracy"], 0.01, "%", digits=1),
            "" if name == "SGD" else _change(row["against SGD"]),
            "" if name == "standard" else _change(row["against standard"]),
        )
        for name, row in result["rows"].items()
    )
    return _markdown(head, rows)


def _digits_rates(result: dict[str, Any]) -> str:
    rates = result["rows"]["SGD"]["rates"]
    rows = (
        (name, *(f"{middle:.3f}" for middle, _, _ in row["cumulative_by_rate"]))
        for name, row in result["rows"].items()
        if row["rates"] == rates
    )
    return _markdown(("initial rate", *(f"{rate:.2g}" for rate in rates)), rows)


def _digits_noise(result: dict[str, Any]) -> str:
    settings = result["noise"]
    first = next(iter(settings.values()))
    predictors, contestants = (list(first[part]) for part in ("surprise", "against standard"))
    rows = (
        (
            name,
            *("; ".join(f"{x:.2f}" for x in row["surprise"][hint]) for hint in predictors),
            _spread(row["standard"], digits=3),
            *(_change(row["against standard"][method]) for method in contestants),
        )
        for name, row in settings.items()
    )
    surprises = (f"surprise, {hint}" for hint in predictors)
    head = ("samples a step", *surprises, "standard: training loss", *contestants)
    return _markdown(head, rows)


def _digits_meta_rates(result: dict[str, Any]) -> str:
    rows = (
        (f"{setting}, {name}", *(f"{loss:.3f}" for loss in losses))
        for setting, row in result["noise"].items()
        for name, losses in row["by_meta_rate"].items()
        if not name.startswith("bootstrapped")
    )
    return _markdown(("", *(f"{rate:.2g}" for rate in result["noise_meta_rates"])), rows)


def _numbers(result: dict[str, Any]) -> str:
    rows = ((name, *map(_number, row)) for name, row in result["rows"].items())
    return _markdown(("", *result["head"]), rows)


def _number(cell: float | list[float] | None) -> str:
    if isinstance(cell, list):
        return "; ".join(map(_number, cell))
    if cell is None:
        return ""
    return f"{cell:.1e}" if 0 < abs(cell) < 1e-2 else f"{cell:.2g}"


def _bench(result: dict[str, Any]) -> str:
    head = ("", "steps/s", "of A2C", "of the peak", "self-tuning to it", "compile, s")
    rows = (
        (
            f"{row['group']}: {row['name']}",
            f"{row['steps_per_second'] / 1e3:,.1f}k",
            "" if row["of_a2c"] is None else f"{row['of_a2c']:.2f}",
            "" if row["of_peak"] is None else f"{row['of_peak']:.0%}",
            "; ".join(f"{x:.3g} ({_short(name)})" for name, x in _compared(row)),
            f"{row['compile_seconds']:.1f}",
        )
        for row in result["rows"]
    )
    return _markdown(head, rows)


def _compared(row: dict[str, Any]) -> list[tuple[str, float]]:
    """With our agents of 64 units in-graph: others' have as many."""
    ratios = row["self_tuning_to"] or {}
    return [(name, x) for name, x in ratios.items() if " 64 x 2, jax" in name]


def _short(group: str) -> str:
    return group.partition(" ")[0]


def _memory(result: dict[str, Any]) -> str:
    def mib(count: int) -> str:
        return f"{count / 2**20:.1f}"

    parts = ("data", "records", "mixed", "reverse")
    rows = (
        (horizon, *(mib(row[part]) for part in parts)) for horizon, row in result["rows"].items()
    )
    head = ("K", "trajectories", "records", "mixed mode", "reverse over reverse")
    return _markdown(head, rows)


def _startup(result: dict[str, Any]) -> str:
    rows = (
        (name, *(f"{row[part][x]:.1f}" for part in row for x in ("median", "slowest")))
        for name, row in result["rows"].items()
    )
    return _markdown(("cache", "solved, s", "slowest", "ended, s", "slowest"), rows)


def _seeds(result: dict[str, Any]) -> str:
    row = (
        f"{result['one'] / 1e3:,.0f}k",
        f"{result['together'] / 1e3:,.0f}k",
        f"{result['time_of_one_by_one']:.2f}",
    )
    head = ("one run, steps/s", f"{result['seeds']} together", "time of one after the other")
    return _markdown(head, [row])


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "learning": ("cartpole-learning", _learning),
    "starts": ("cartpole-starts", _starts),
    "starts-trial": ("cartpole-starts-trial", _starts),
    "meta-optimizers": ("cartpole-meta-optimizers", _starts),
    "guards": ("learning-rate-guards", _learning_rate),
    "guard-paths": ("learning-rate-guards", _learning_rate_paths),
    "optimizers": ("learning-rate-optimizers", _learning_rate),
    "optimizer-paths": ("learning-rate-optimizers", _learning_rate_paths),
    "speed": ("cartpole-speed", _speed),
    "host": ("cartpole-host", _host),
    "signals": ("signals", _signals),
    "drift": ("signals", _drift),
    "convex-quadratic": ("convex-quadratic", _numbers),
    "convex-pseudo-huber": ("convex-pseudo-huber", _numbers),
    "convex-worst-case": ("convex-worst-case", _numbers),
    "convex-sensitivity": ("convex-sensitivity", _numbers),
    "convex-meta-rates": ("convex-meta-rates", _numbers),
    "convex-forms": ("convex-forms", _numbers),
    "digits": ("digits", _digits),
    "digits-rates": ("digits", _digits_rates),
    "digits-noise": ("digits", _digits_noise),
    "digits-meta-rates": ("digits", _digits_meta_rates),
    "online-learners": ("online-learners", _online_learners),
    "methods-cartpole": ("methods-cartpole", _methods),
    "methods-acrobot": ("methods-acrobot", _methods),
    "methods-options": ("methods-options", _options),
    "lunar-lander": ("lunar-lander", _starts),
    "two-colors-quick": ("two-colors-quick", _two_colors),
    "two-colors-main": ("two-colors-main", _two_colors),
    "two-colors-q": ("two-colors-q", _two_colors),
    "two-colors-speed": ("two-colors-speed", _two_colors_speed),
    "bench": ("bench", _bench),
    "memory": ("memory", _memory),
    "startup": ("startup", _startup),
    "seeds": ("seeds", _seeds),
}


def render(text: str) -> str:
    """The text of a page with its tables made from the results."""

    def table(match: re.Match[str]) -> str:
        result, format_table = TABLES[match[2]]
        content = json.loads((RESULTS / f"{result}.json").read_text(encoding="utf-8"))
        return match[1] + "\n" + format_table(content) + "\n" + match[3]

    return _TABLE.sub(table, text)


def main() -> None:
    """Rewrites the tables of all pages."""
    for page in PAGES:
        path = DOCS / page
        path.write_text(render(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
