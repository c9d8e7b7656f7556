"""The scales of hyperparameters, as the engine and searches move on them."""

from __future__ import annotations

from selftuning.configs.hyperparameters import Definition, Scale
from selftuning.metagrad import hyperparams as hp


def bijector(definition: Definition) -> hp.Bijector:
    """Raw values, which tuning moves, to values of a hyperparameter and back."""
    return of_scale(definition.scale, definition.default.high - definition.default.low)


def of_scale(scale: Scale, width: float) -> hp.Bijector:
    """Positions on a scale to values and back.

    Args:
      scale: "log" for logarithms, "unit" for log-odds, "linear" for the values themselves.
      width: of the range of values, which is the unit of a linear scale: steps are then of one
        size for all hyperparameters.
    """
    if scale == "linear":
        return hp.Bijector(lambda x: x * width, lambda y: y / width)
    return {"log": hp.POSITIVE, "unit": hp.UNIT_INTERVAL}[scale]
