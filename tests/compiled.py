"""What compiled programs do, read from their text."""

import re
from collections import Counter


def products(compiled):
    """Matrix products that a program makes, by the type and shape of their results.

    Those of a loop count as often as it turns.
    """
    bodies, entry, name = {}, None, None
    for line in compiled.as_text().splitlines():
        if start := re.match(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            name = start.group(2)
            bodies[name] = []
            entry = name if start.group(1) else entry
        elif name is not None:
            bodies[name].append(line)

    result = Counter()

    def count(name, times):
        for line in bodies[name]:
            if made := re.search(r"= \(?(\w+\[[\d,]*\])\S* dot\(", line):
                result[made.group(1)] += times
            turns = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            each = times * int(turns.group(1)) if turns and " while(" in line else times
            for called in re.findall(r"(?:calls|body|to_apply)=%?([\w.\-]+)", line):
                if called in bodies:
                    count(called, each)

    count(entry, 1)
    return result
