"""Does a model's verdict hang on how many legs a picture shows?

    python benchmarks/two_legs.py --data FOLDER [--model ID] [--test-part]

Counts, for a folder of class folders, how the classes are filed and what the model says of
pictures of two legs and of others; with ``--test-part`` only over the model's own test files.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kop_core import backend  # noqa: E402

backend.settle()


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--test-part", action="store_true")
    options = parser.parse_args()
    from kop_core.commands.console import start_tensorflow

    start_tensorflow()
    from kop_core import model_store, radiographs
    from kop_core.classes import CLASS_NAMES
    from kop_core.classifier import Classifier
    from kop_core.datasets import scan
    from kop_core.evaluation import Predictions

    model = model_store.get(options.model)
    classifier = Classifier(model)
    data = scan(options.data)
    items = data.items
    if options.test_part:
        test = set(Predictions.read(model.folder / model_store.PREDICTIONS).files)
        items = tuple(i for i in items if i.file in test)
    filed: Counter = Counter()
    said: Counter = Counter()
    for item in items:
        radiograph = radiographs.read(data.path(item))
        legs = "two legs" if radiographs.shows_two_legs(radiograph) else "others"
        filed[legs, item.true] += 1
        said[legs, classifier.classify(radiograph).class_name] += 1
    print(f"{model.id} ({model.version}) on {len(items)} files of {options.data.name}")
    print(f"{'':<24}" + "".join(f"{name:>14}" for name in CLASS_NAMES))
    for legs in ("two legs", "others"):
        for what, counts in (("filed as", filed), ("classified as", said)):
            row = "".join(f"{counts[legs, name]:>14}" for name in CLASS_NAMES)
            print(f"{legs + ', ' + what:<24}{row}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
