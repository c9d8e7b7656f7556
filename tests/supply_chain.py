"""What this project is made of: pins and hashes, licences, known vulnerabilities.

python -m tests.supply_chain licences     writes the table of docs/dependencies.md anew
python -m tests.supply_chain audit        asks the advisory service of pip-audit
python -m tests.supply_chain installed F  compares what pip reported in F with the hashes
"""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK, CONSTRAINTS = ROOT / "requirements.lock", ROOT / "constraints.txt"
PAGE = ROOT / "docs" / "dependencies.md"
BEGIN, END = "<!-- licences -->\n", "<!-- end -->"
AUDIT_SECONDS = 120


class Pin(NamedTuple):
    """One package of requirements.lock.

    Attributes:
      requirement: as it stands there, without hashes.
      hashes: SHA-256 of the files it may come as.
      via: names of what needs it.
    """

    requirement: str
    hashes: frozenset[str]
    via: tuple[str, ...]

    @property
    def name(self) -> str:
        """Normalised."""
        return canonicalize_name(Requirement(self.requirement).name)

    @property
    def version(self) -> str:
        """The one that is pinned."""
        (only,) = Requirement(self.requirement).specifier
        return only.version


def pins(text: str | None = None) -> dict[str, Pin]:
    """The packages of requirements.lock, by name."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text or LOCK.read_text(encoding="utf-8"))
    found = []
    for block in blocks:
        if not block.startswith("#"):
            first, *rest = block.splitlines()
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
            comments = [line.partition("#")[2].replace("via", "").strip() for line in rest]
            via = tuple(filter(None, comments))
            found.append(Pin(first.removesuffix(" \\"), hashes, via))
    return {pin.name: pin for pin in found}


def licence(name: str) -> str | None:
    """What the metadata of an installed package say; None where it is not installed."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    if expression := about.get("License-Expression"):
        return expression
    prefix = "License ::"
    found = [c for c in about.get_all("Classifier", []) if c.startswith(prefix)]
    found = [c.split(" :: ")[-1] for c in found if c != "License :: OSI Approved"]
    if found:
        return "; ".join(sorted(found))
    file = about.get("License-File", "LICENSE")
    read = metadata.distribution(name).read_text
    text = about.get("License") or read(f"licenses/{file}") or read(file) or ""
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


def table(text: str) -> dict[str, tuple[str, str]]:
    """(version, licence) by name, of the page."""
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+?) \|$", text, re.MULTILINE)
    return {name: (version, said) for name, version, said in rows if name not in ("package", "---")}


def page(text: str) -> str:
    """The page with its table made anew; what is not installed keeps the licence that it had."""
    before = table(text)
    rows = []
    for name, pin in sorted(pins().items()):
        known = licence(name) or before.get(name, ("", "not known"))[1]
        rows.append(f"| {name} | {pin.version} | {known} |\n")
    lines = "| package | version | licence |\n| --- | --- | --- |\n" + "".join(rows)
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + "\n" + lines + "\n" + END + rest.partition(END)[2]


def judged(report: dict) -> tuple[list[str], int]:
    """Lines about a report of pip-audit, and the exit code: 1 for what a newer version mends."""
    lines, code, asked = [], 0, report["dependencies"]
    for one in asked:
        for hole in one.get("vulns", []):
            mended = ", ".join(hole["fix_versions"])
            code |= bool(mended)
            lines.append(
                f"{one['name']} {one['version']}: {hole['id']}, "
                + (f"mended in {mended}" if mended else "not mended by any version")
            )
    answered = sum("skip_reason" not in one for one in asked)
    not_all = "" if answered else "; the advisory service knows none of them"
    return [*lines, f"audited {answered} of {len(asked)} packages{not_all}"], code


def audit() -> int:
    """Asks for known vulnerabilities of all pins; no answer is no failure, but said."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", LOCK, "--disable-pip"]
    command += ["--no-deps", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_SECONDS)
        lines, code = judged(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        lines, code = [f"not audited: no answer within {AUDIT_SECONDS} seconds"], 0
    except json.JSONDecodeError:
        said = done.stderr.strip().splitlines()
        lines, code = [f"not audited: {said[-1] if said else 'pip-audit said nothing'}"], 0
    print("\n".join(lines))
    return code


def differing(report: dict) -> list[str]:
    """What pip installed by its report that is not as requirements.lock has it."""
    locked, lines = pins(), []
    for one in report["install"]:
        name = canonicalize_name(one["metadata"]["name"])
        archive = one["download_info"].get("archive_info")
        if archive is None:
            continue  # this project, from its folder
        found = archive.get("hashes", {}).get("sha256")
        if name not in locked or found not in locked[name].hashes:
            lines.append(f"{name} {one['metadata']['version']}: sha256 {found} is not locked")
    return lines


def main(command: str, *arguments: str) -> int:
    """Runs one of the commands above."""
    match command:
        case "licences":
            PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
            return 0
        case "audit":
            return audit()
        case "installed":
            report = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
            lines = differing(report)
            print("\n".join(lines) or f"{len(report['install'])} packages are as locked")
            return bool(lines)
    raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
