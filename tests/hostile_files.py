"""Files as strangers may make them: cut, flipped, and forged with digests that are right."""

import json

import numpy as np
import yaml

from selftuning.training import checkpoints

ODD = (-1, 0, 1, 2**40, 10**30, 0.5, 1e308, "x", "", "inf", "nan", None, True, [], {}, [1] * 99)
DTYPES = ("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X1", "")


def damaged(content, rng):
    """Bytes of a file that was cut, flipped, or has pieces of itself in other places."""
    content = bytearray(content)
    kind = rng.randrange(5)
    if kind == 0:
        return bytes(content[: rng.randrange(len(content))])
    if kind == 1:
        for _ in range(rng.choice([1, 3, 30])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(content)
    begin, end = sorted(rng.randrange(len(content)) for _ in range(2))
    piece = content[begin:end]
    if kind == 2:  # the beginning and the end are where the structure is
        at = rng.choice([rng.randrange(16), -rng.randrange(1, 64)])
        content[at] = rng.randrange(256)
        return bytes(content)
    return bytes(content[:begin] + (piece * 2 if kind == 3 else rng.randbytes(8)) + content[end:])


def odd(data, rng):
    """Plain data in which one value is another."""
    whole = at = json.loads(json.dumps(data))
    key = rng.choice(list(at))
    while isinstance(at[key], dict | list) and at[key] and rng.random() < 0.9:
        at = at[key]
        key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
    at[key] = rng.choice([*ODD, _nested(30)])
    if rng.random() < 0.1 and isinstance(at, dict):
        del at[key]
    return whole


def _nested(depth):
    found = []
    for _ in range(depth):
        found = [found]
    return found


def forged_header(content, rng):
    """A safetensors file that declares other shapes, types and places than it has."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    entry = header[rng.choice([name for name in header if name != "__metadata__"])]
    match rng.randrange(4):
        case 0:
            entry["shape"] = rng.choice([[2**40], [-1], [2**32, 2**32], [0], [], "x", [1.5]])
        case 1:
            entry["dtype"] = rng.choice(DTYPES)
        case 2:
            entry["data_offsets"] = rng.choice([[0, 2**50], [5, 1], [0, 0], [], [-4, 4]])
        case 3:
            header["__metadata__"] = rng.choice([{}, None, {"selftuning": "[" * 9999}, {"x": "y"}])
    new = json.dumps(header).encode()
    said = rng.choice([len(new)] * 9 + [2**62])
    return said.to_bytes(8, "little") + new + content[8 + length :]


def forged_checkpoint(path, to, rng):
    """A checkpoint whose arrays or header are others, with the digest of these."""
    file = checkpoints.read(path)
    arrays, about, steps = dict(file.arrays), file.about, file.env_steps
    name = rng.choice(sorted(arrays))
    match rng.randrange(7):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = arrays[name].reshape(-1)[:1]
        case 2:
            arrays[name] = arrays[name].astype(rng.choice([np.float64, np.int8, bool]))
        case 3:
            arrays[name + rng.choice(["/x", "x", "\n"])] = np.zeros(3)
        case 4:
            steps = rng.choice(ODD)
        case _:
            about = odd(about, rng)
    checkpoints.save(to, arrays, steps, about)


def forged_yaml(text, rng):
    """Settings in which one value is another."""
    return yaml.safe_dump(odd(yaml.safe_load(text), rng))
