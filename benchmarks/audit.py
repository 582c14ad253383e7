"""How long an audit takes, how that grows, and how many of the copies it finds.

    python benchmarks/audit.py [--data shared/data] [--sizes 500 1000 2000 4000] [--json]

Each audit runs without the cache in a process of its own, so that seconds and peak memory
are its own. The growth exponent is the slope of log seconds over log files. Pairs of files
put together are compared with ``radiographs.csv``, which the audit does not believe.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DATA = ROOT.parent / "shared" / "data"
TO_REACH = {
    "growth exponent": ("at most", 1.2),
    "seconds of paper1947": ("at most", 180),
    "precision": ("at least", 0.99),
    "recall": ("at least", 0.98),
}


def main() -> int:
    """Measure, print, and return 1 if something that is to be reached is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data sets")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_audit(options.one)))
        return 0
    if not (options.data / "paper1947").is_dir():
        parser.error(f"there is no {options.data / 'paper1947'}: name the data with --data")
    found = {"growth": growth(options.data, options.sizes), "pairs": pairs(options.data)}
    found["to reach"] = judge(found)
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    return 0 if all(row["reached"] for row in found["to reach"]) else 1


def _audit(folder: Path) -> dict[str, Any]:
    """Audit one folder in this process."""
    import resource

    from kop_core.datasets import scan
    from kop_core.datasets.audit import audit

    report = audit(scan(folder, any_class=True, follow_links=True), cache=False)
    return {
        "files": len(report.files),
        "seconds": report.seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "radiographs": len(report.groups()),
        "groups": {f.file: f.radiograph for f in report.files},
    }


def in_own_process(folder: Path) -> dict[str, Any]:
    """Audit a folder in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(folder)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def growth(data: Path, sizes: list[int]) -> dict[str, Any]:
    """Measure seconds and memory on knees of another study, evenly chosen."""
    every = sorted((data / "knee_kl").rglob("*.*"))
    every = [p for p in every if p.suffix.lower() in (".png", ".jpg", ".jpeg")]
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            step = len(every) / size
            for place in range(size):
                path = every[int(place * step)]
                (Path(folder) / f"{place:05d}{path.suffix}").symlink_to(path.resolve())
            row = in_own_process(Path(folder))
            rows.append({k: row[k] for k in ("files", "seconds", "peak_mb", "radiographs")})
    logs = [(math.log(r["files"]), math.log(r["seconds"])) for r in rows]
    mean_x, mean_y = (sum(v) / len(v) for v in zip(*logs))
    above = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    below = sum((x - mean_x) ** 2 for x, _ in logs)
    return {"rows": rows, "exponent": above / below if below else None}


def pairs(data: Path) -> list[dict[str, Any]]:
    """Compare the pairs that are put together with those that are known."""
    strangers = sorted((data / "knee_kl" / "oai").rglob("*.*"))[7::27][:300]
    rows = []
    for names, others in (
        (("paper1947",), []),
        (("mendeley",), []),
        (("paper1947", "mendeley"), []),
        (("paper1947", "mendeley"), strangers),
    ):
        with tempfile.TemporaryDirectory() as folder:
            known = {}
            for name in names:
                (Path(folder) / name).symlink_to((data / name).resolve(), target_is_directory=True)
                known |= _known(data / name, name)
            for place, path in enumerate(others):
                name = f"stranger {place}{path.suffix}"
                (Path(folder) / name).symlink_to(path.resolve())
                known[name] = name
            row = in_own_process(Path(folder))
        title = " + ".join(names) + (f" + {len(others)} strangers" if others else "")
        rows.append({"data": title, **_compared(row.pop("groups"), known), **row})
    return rows


def _known(folder: Path, name: str) -> dict[str, str]:
    with (folder / "radiographs.csv").open(newline="", encoding="utf-8") as stream:
        return {f"{name}/{row['file']}": row["radiograph"] for row in csv.DictReader(stream)}


def _compared(groups: dict[str, str], known: dict[str, str]) -> dict[str, float]:
    """Count pairs through the sizes of groups: of the found, of the known, of both."""

    def count(keys: Any) -> int:
        return sum(n * (n - 1) // 2 for n in Counter(keys).values())

    both = count((groups[f], known[f]) for f in known)
    found, right = count(groups[f] for f in known), count(known.values())
    return {"precision": both / found, "recall": both / right, "pairs": right,
            "known_radiographs": len(set(known.values()))}  # fmt: skip


def judge(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Hold what was measured against what is to be reached."""
    measured = [("growth exponent", "growth exponent", found["growth"]["exponent"])]
    for row in found["pairs"]:
        if row["data"] == "paper1947":
            measured.append(("seconds of paper1947", "seconds of paper1947", row["seconds"]))
        measured += [(key, f"{key}, {row['data']}", row[key]) for key in ("precision", "recall")]
    judged = []
    for key, title, value in measured:
        how, bound = TO_REACH[key]
        reached = value is None or (value <= bound if how == "at most" else value >= bound)
        judged.append({"what": title, "value": value, how: bound, "reached": reached})
    return judged


def as_text(found: dict[str, Any]) -> str:
    """Return the figures as tables for people."""
    lines = [f"{os.cpu_count()} cores", "", f"{'files':>7}{'seconds':>10}{'peak MB':>10}"]
    for row in found["growth"]["rows"]:
        lines.append(f"{row['files']:>7}{row['seconds']:>10.1f}{row['peak_mb']:>10.0f}")
    lines += ["", f"{'data':<42}{'seconds':>9}{'peak MB':>9}{'radiographs':>13}"]
    for row in found["pairs"]:
        of = f"{row['radiographs']}/{row['known_radiographs']}"
        lines.append(f"{row['data']:<42}{row['seconds']:>9.1f}{row['peak_mb']:>9.0f}{of:>13}")
    lines.append("")
    for row in found["to reach"]:
        how = "at most" if "at most" in row else "at least"
        value = "not measured" if row["value"] is None else f"{row['value']:.4g}"
        said = "reached" if row["reached"] else "NOT REACHED"
        lines.append(f"{row['what']:<52}{value:>9}  {how} {row[how]}: {said}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
