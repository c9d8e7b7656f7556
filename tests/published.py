"""Numbers of distrax 0.1.9 and rlax 0.1.9 in float64, which these tests once ran themselves.

Both need a nightly build of TensorFlow Probability, so what they said is kept in their place.
"""

import json
from pathlib import Path

NUMBERS = json.loads((Path(__file__).parent / "data" / "deepmind.json").read_text("utf-8"))
