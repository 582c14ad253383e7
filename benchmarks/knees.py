"""Make the filter that finds knee joints, and count what it finds.

    python benchmarks/knees.py --make        writes assets/knee_filter.npz anew
    python benchmarks/knees.py               counts joints in the folders of the shared data
    python benchmarks/knees.py --sheet PNG   draws what it found in forty pictures

No place of a joint is marked in any of the collections, so what is counted is how many
joints are found in a picture, and at what score; whether they are right is for the eye.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kop_core import radiographs
from kop_core.errors import RadiographError
from kop_core.radiographs import knees

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
KNEES, ANYTHING = "knee_kl/oai", "mendeley"
POSITIVE, NEGATIVE, RIDGE = 900, 40, 0.02


def make(data: Path) -> None:
    """Write the filter."""
    rng = np.random.default_rng(0)
    joints = np.array(list(_joints(data / KNEES, rng)))
    others = np.array(list(_others(data / ANYTHING, rng)))
    mean = others.mean(axis=0)
    spread = np.cov(others.T) + RIDGE * np.eye(others.shape[1])
    weights = np.linalg.solve(spread, joints.mean(axis=0) - mean)
    offset = -weights @ (joints.mean(axis=0) + mean) / 2
    unit = (others @ weights).std()  # a score of 1: one standard deviation of anything
    shape = (knees.CELLS, knees.CELLS, knees.DIRECTIONS)
    np.savez(
        knees.FILTER,
        weights=(weights / unit).reshape(shape).astype(np.float32),
        offset=np.float32(offset / unit),
    )
    print(f"{knees.FILTER}: from {len(joints):,} crops of knees and {len(others):,} of anything")


def _read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(radiographs.read(path).pixels, np.float32)


def _joints(folder: Path, rng: np.random.Generator):
    import cv2

    files = sorted(folder.rglob("*.jpg"))
    for place in rng.permutation(len(files))[:POSITIVE]:
        grey = cv2.resize(
            _read(files[place]), (knees.SIDE, knees.SIDE), interpolation=cv2.INTER_AREA
        )
        around = cv2.copyMakeBorder(grey, *(knees.CELL,) * 4, cv2.BORDER_REPLICATE)
        for turned in (around, around[:, ::-1].copy()):
            yield knees.cells(turned)[1:-1, 1:-1].ravel()


def _others(folder: Path, rng: np.random.Generator):
    import cv2

    for file in sorted(folder.rglob("*.jpg")):
        grey = _read(file)
        by = 512 / max(grey.shape)
        grey = cv2.resize(grey, None, fx=by, fy=by, interpolation=cv2.INTER_AREA)
        for _ in range(NEGATIVE):
            by = knees.SIDE / rng.uniform(50, 300)
            seen = knees.cells(cv2.resize(grey, None, fx=by, fy=by, interpolation=cv2.INTER_AREA))
            room = [length - knees.CELLS for length in seen.shape[:2]]
            if min(room) < 0:
                continue
            row, column = (int(rng.integers(0, r + 1)) for r in room)
            patch = seen[row : row + knees.CELLS, column : column + knees.CELLS]
            if patch.max() > 0:
                yield patch.ravel()


def count(data: Path, most: int) -> None:
    """Print how many joints are found in the pictures of each folder."""
    folders = [ANYTHING, *(f"paper1947/{n}" for n in ("Normal", "Osteopenia", "Osteoporosis"))]
    folders += ["full_size", *(f"not_knee/{p.name}" for p in sorted((data / "not_knee").iterdir()))]
    for folder in folders:
        files = [p for p in sorted((data / folder).rglob("*")) if p.is_file()]
        found, best = [], []
        for file in files[:: max(1, len(files) // most)]:
            try:
                joints = knees.find_knees(radiographs.read(file), least=-np.inf, most=2)
            except RadiographError:
                continue
            scores = [joint.score for joint in joints]
            found.append(sum(score >= knees.LEAST for score in scores))
            best.append(max(scores, default=-np.inf))
        if found:
            counts = ", ".join(f"{n} in {found.count(n)}" for n in range(3))
            print(
                f"{folder}: {len(found)} pictures; joints: {counts}; best score of each "
                f"{np.percentile(best, 5):.1f} to {np.percentile(best, 95):.1f} (5 to 95 %)"
            )


def sheet(data: Path, out: Path) -> None:
    """Draw forty pictures with what was found in them."""
    from PIL import Image, ImageDraw

    files = sorted((data / ANYTHING).rglob("*.jpg"))
    rng = np.random.default_rng(1)
    drawn = Image.new("RGB", (1800, 880))
    for place, chosen in enumerate(rng.permutation(len(files))[:40]):
        radiograph = radiographs.read(files[chosen])
        grey = Image.fromarray(np.round(radiograph.pixels * 255).astype(np.uint8)).convert("RGB")
        by = min(176 / grey.width, 216 / grey.height)
        small = grey.resize((round(grey.width * by), round(grey.height * by)))
        pen = ImageDraw.Draw(small)
        for knee in knees.find_knees(radiograph):
            reach = knee.side / 2
            corners = (knee.x - reach, knee.y - reach, knee.x + reach, knee.y + reach)
            pen.rectangle([by * c for c in corners], outline=(0, 255, 0))
        drawn.paste(small, (place % 10 * 180, place // 10 * 220))
    drawn.save(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--make", action="store_true", help="write the filter anew")
    parser.add_argument("--sheet", type=Path, metavar="PNG")
    parser.add_argument("--most", type=int, default=60, help="pictures of a folder")
    options = parser.parse_args()
    if options.make:
        make(options.data)
    elif options.sheet:
        sheet(options.data, options.sheet)
    else:
        count(options.data, options.most)


if __name__ == "__main__":
    main()
