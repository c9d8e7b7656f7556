"""A paragraph about a study that can stand in a paper, and what it refers to."""

from __future__ import annotations

from selftuning.configs import studies
from selftuning.configs.studies import StudySettings
from selftuning.studies.contestants import RETURN
from selftuning.studies.intervals import listed
from selftuning.studies.outcome import Outcome
from selftuning.studies.report import words

_REFERENCES = {
    "Agarwal et al. 2021": "R. Agarwal, M. Schwarzer, P. S. Castro, A. Courville and "
    "M. G. Bellemare (2021). Deep Reinforcement Learning at the Edge of the Statistical "
    "Precipice. NeurIPS 34.",
    "Akiba et al. 2019": "T. Akiba, S. Sano, T. Yanase, T. Ohta and M. Koyama (2019). Optuna: A "
    "Next-generation Hyperparameter Optimization Framework. KDD.",
    "Flennerhag et al. 2022": "S. Flennerhag, Y. Schroecker, T. Zahavy, H. van Hasselt, "
    "D. Silver and S. Singh (2022). Bootstrapped Meta-Learning. ICLR.",
    "Jaderberg et al. 2017": "M. Jaderberg et al. (2017). Population Based Training of Neural "
    "Networks. arXiv:1711.09846.",
    "Kumar et al. 2023": "S. Kumar, H. Marklund and B. Van Roy (2023). Maintaining Plasticity in "
    "Continual Learning via Regenerative Regularization. arXiv:2308.11958.",
    "Mnih et al. 2016": "V. Mnih et al. (2016). Asynchronous Methods for Deep Reinforcement "
    "Learning. ICML.",
    "Muppidi et al. 2024": "A. Muppidi, Z. Zhang and H. Yang (2024). Fast TRAC: A Parameter-Free "
    "Optimizer for Lifelong Reinforcement Learning. NeurIPS 37.",
    "Schulman et al. 2017": "J. Schulman, F. Wolski, P. Dhariwal, A. Radford and O. Klimov "
    "(2017). Proximal Policy Optimization Algorithms. arXiv:1707.06347.",
    "Watkins 1989": "C. J. C. H. Watkins (1989). Learning from Delayed Rewards. PhD thesis, "
    "University of Cambridge.",
    "Xu et al. 2018": "Z. Xu, H. van Hasselt and D. Silver (2018). Meta-Gradient Reinforcement "
    "Learning. NeurIPS 31.",
}


def paragraph(outcome: Outcome, code: str) -> str:
    """What was done, in the past tense and with all numbers.

    Args:
      outcome: of the study.
      code: version of this code, in words.
    """
    settings, known = outcome.measured.settings, outcome.measured.known
    envs = listed([one.env for one in known.each])
    changed = words.of_task(settings.run)
    seeds = f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''}"
    score = "mean return" if outcome.measure == RETURN else f"mean {outcome.score}"
    agent = words.of_agent(settings.run, studies.combinations(settings.starts))
    return (
        f"We compared {_compared(settings)} on {f'{envs} ({changed})' if changed else envs}, with "
        f"{seeds} and {settings.run.steps:,} environment steps a run, using selftuning {code}. "
        f"The agent: {agent} The score of a run was its {score} over the last tenth of its "
        "environment steps; aggregates follow Agarwal et al. 2021 and stand with 95% intervals."
    )


def _compared(settings: StudySettings) -> str:
    """Methods by their labels, and from where those start that share the starts of the study."""
    shares = {
        name: method.kind == "runs" and not method.at_outer and method.starts is None
        for name, method in settings.methods.items()
    }
    labels = {name: method.label for name, method in settings.methods.items()}
    grid = [
        f"{name} {' or '.join(f'{x:g}' for x in values)}"
        for name, values in settings.starts.items()
    ]
    if not grid or not any(shares.values()):
        return listed(list(labels.values()))
    first = listed([labels[name] for name, does in shares.items() if does])
    said = f"{first} from every start of {listed(grid)}"
    rest = [labels[name] for name, does in shares.items() if not does]
    return f"{said}, and {listed(rest)}," if rest else said


def bibtex(code: str) -> str:
    """An entry for this program."""
    version = code.partition(",")[0]
    note = f"Version {code}"
    return (
        "@software{selftuning,\n"
        "  author  = {{The self-tuning actor-critic authors}},\n"
        "  title   = {Self-tuning actor-critic},\n"
        f"  version = {{{version}}},\n"
        f"  note    = {{{note}}}\n"
        "}"
    )


def references(*texts: str) -> list[str]:
    """The papers that texts name."""
    named = {key for key in _REFERENCES for text in texts if key in text}
    return [_REFERENCES[key] for key in sorted(named)]
