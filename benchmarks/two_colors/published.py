"""Published results on this task, to lay ours beside."""

from __future__ import annotations

from typing import NamedTuple

from selftuning.benchmarks.two_colors.rows import Study, best_fixed

STEPS = 10_000_000
PHASE = 100_000  # environment steps between two changes of signs
SOURCE = (
    "Luketina et al. (2022), Meta-Gradients in Non-Stationary Environments, Table 1: total reward "
    "in millions after 10M steps, mean and standard deviation of ten seeds. Their text describes "
    "another rule of what moves after a touch, so the task may not be the same."
)


class Published(NamedTuple):
    """Total reward in millions: mean over seeds and standard deviation."""

    mean: float
    sd: float


# By family and context of a row; fixed ones are of the best value.
PUBLISHED = {
    ("fixed", "none"): Published(1.24, 0.09),
    ("mg", "none"): Published(1.29, 0.08),
    ("mg", "reward"): Published(1.58, 0.06),
    ("mg", "rich"): Published(1.62, 0.10),
    ("bmg", "none"): Published(1.32, 0.08),
    ("bmg", "reward"): Published(1.74, 0.03),
    ("bmg", "rich"): Published(1.79, 0.07),
    ("q_fixed", "none"): Published(0.58, 0.07),
    ("q_bmg", "none"): Published(1.78, 0.03),
    ("q_bmg", "reward"): Published(1.93, 0.03),
}


def of_rows(study: Study) -> dict[str, Published]:
    """Published numbers by name of the row; none where signs change at other times than there.

    Of fixed rows the best one has a number: that of the best value was published.
    """
    if study.phase != PHASE:
        return {}
    best = [best_fixed(study.rows, family) for family in ("fixed", "q_fixed")]
    return {
        row.name: PUBLISHED[row.family, row.context]
        for row in study.rows
        if (row.family, row.context) in PUBLISHED
        and (row.value is None or any(row is one for one in best))
    }
