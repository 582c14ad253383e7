"""What an encoder brings: its features under a simple head, in repeated cross-validation.

    python benchmarks/encoder.py --out docs/encoder/README.md
    python benchmarks/encoder.py --encoders imagenet mine=runs/encoder/encoder.npz

The backbone stays as it is; its features are averaged over a picture and its mirror image,
and a head of few numbers is fitted on them: a logistic regression on the three classes, or
a ridge regression on the T-score, whose error is taken for normal to say how likely each
class is. Folds are by radiograph, the same for all; radiographs filed under several classes
are left out. Beside them stand fresh weights, and the patients' age, which sees no picture.
With --out a page is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kop_core import backend, documents, networks
from kop_core.datasets import DataSet, feeding, make_split, scan, with_radiographs
from kop_core.evaluation import Predictions, repeated
from kop_core.networks import pretrained
from kop_core.radiographs.preparation import VIEWS

backend.settle()
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "mendeley"
NETWORK = "efficientnet_lite0"
METRICS = ("macro_roc_auc", "balanced_accuracy", "macro_f1", "accuracy")
FRESH, AGE, AGE_COLUMN, T_SCORE = "fresh", "age", "age", "t_score"
# T-scores that part the classes (WHO 1994).
OSTEOPENIA, OSTEOPOROSIS = -1.0, -2.5
# Fixed before anything was measured: as strong as some hundred pictures of 1,280 numbers want.
LOGISTIC, RIDGE = 0.01, 3000.0
FOLDS = 5

Head = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def features(pixels: feeding.Pixels, size: int, view: str, source: str | None) -> np.ndarray:
    """Return what a backbone says of each picture and its mirror image, on the average."""
    import keras

    keras.utils.set_random_seed(0)
    model = networks.build(NETWORK, size=size, view=view)
    if source is not None:
        pretrained.load(model, NETWORK, source)
    backbone, _ = networks.split(model, NETWORK)
    found = []
    for start in range(0, len(pixels.items), 16):
        some = pixels.batch(np.arange(start, min(start + 16, len(pixels.items))))
        both = [backbone.predict_on_batch(x) for x in (some, some[:, :, ::-1])]
        found.append(np.mean([np.asarray(x).mean(axis=(1, 2)) for x in both], axis=0))
    return np.concatenate(found)


def classes_head(
    learned: np.ndarray, labels: np.ndarray, scores: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """Fit a logistic regression on the classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = LogisticRegression(C=LOGISTIC, max_iter=2000, class_weight="balanced")
    return make_pipeline(StandardScaler(), head).fit(learned, labels).predict_proba(asked)


def t_score_head(
    learned: np.ndarray, labels: np.ndarray, scores: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """Fit a ridge regression on the T-score, and say how likely it is in each class's range."""
    from scipy.stats import norm
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = np.isfinite(scores)
    head = make_pipeline(StandardScaler(), Ridge(RIDGE))
    error = cross_val_predict(head, learned[known], scores[known], cv=5) - scores[known]
    found = head.fit(learned[known], scores[known]).predict(asked)
    below = [norm.cdf((level - found) / error.std()) for level in (OSTEOPENIA, OSTEOPOROSIS)]
    chances = np.stack([1 - below[0], below[0] - below[1], below[1]], axis=1)
    return np.clip(chances, 1e-9, 1) / np.clip(chances, 1e-9, 1).sum(axis=1, keepdims=True)


HEADS: dict[str, Head] = {"classes": classes_head, "T-score": t_score_head}


def validated(
    data: DataSet, pixels: feeding.Pixels, values: np.ndarray, scores: np.ndarray, head: Head,
    repeats: int,
) -> list[Predictions]:  # fmt: skip
    """Return what a head says of every picture when it was not learned from, once a repeat."""
    at = {item.file: place for place, item in enumerate(pixels.items)}
    labels = pixels.targets.argmax(axis=1)
    found = []
    for repeat in range(1, repeats + 1):
        chances, tested = np.full((len(at), 3), np.nan), []
        for fold in range(1, FOLDS + 1):
            split = make_split(data, "radiograph", 0.2, repeat, "drop", fold, FOLDS)
            learn, ask = (
                np.array([at[i.file] for i in part if i.file in at])
                for part in (split.training, split.test)
            )
            chances[ask] = head(values[learn], labels[learn], scores[learn], values[ask])
            tested += ask.tolist()
        order = np.array(sorted(tested))
        found.append(
            Predictions(
                tuple(pixels.items[i].file for i in order),
                tuple(pixels.items[i].radiograph for i in order),
                labels[order],
                chances[order],
            )
        )
    return found


def numbers_of(data: DataSet, pixels: feeding.Pixels, column: str) -> np.ndarray:
    """Return a column of what is known of the patients, ``nan`` where it is not."""
    found = []
    for item in pixels.items:
        text = data.patients.get(item.file, {}).get(column, "")
        try:
            found.append(float(text))
        except ValueError:
            found.append(np.nan)
    return np.array(found)


def measured(options: argparse.Namespace) -> Iterator[tuple[str, str, str, list[Predictions]]]:
    """Yield encoder, view, head and predictions, as they are found."""
    data = with_radiographs(scan(options.data))
    for view in options.views:
        shown = networks.get(NETWORK).input_of(options.size, view)
        pixels = feeding.load(data, data.items, shown)
        scores = numbers_of(data, pixels, T_SCORE)
        for name, source in options.encoders:
            values = features(pixels, options.size, view, source)
            for head in options.heads:
                yield name, view, head, validated(
                    data, pixels, values, scores, HEADS[head], options.repeats
                )  # fmt: skip
    age = numbers_of(data, pixels, AGE_COLUMN)
    if np.isfinite(age).any():
        values = np.where(np.isfinite(age), age, np.nanmean(age))[:, np.newaxis]
        found = validated(data, pixels, values, scores, HEADS["classes"], options.repeats)
        yield AGE, "no picture", "classes", found


def written(found: repeated.Repeated, sign: bool = False) -> str:
    """Return a figure with its interval."""
    form = "+.3f" if sign else ".3f"
    mean = found.mean
    return f"{mean.value:{form}} ({mean.low:{form}} to {mean.high:{form}})"


def page(rows: Sequence[tuple[str, str, str, list[Predictions]]], options) -> str:
    """Return everything that was measured as Markdown."""
    base = next(
        (p for name, view, head, p in rows if (name, head) == (pretrained.IMAGENET, "classes")),
        rows[0][3],
    )
    first, table, apart = base[0], [], []
    for name, view, head, predictions in rows:
        found = repeated.figures(predictions, METRICS)
        gap = repeated.differences(predictions, base, METRICS[:1])[METRICS[0]]
        table.append(
            (name, view, head, written(found["macro_roc_auc"]),
             "" if predictions is base else written(gap, sign=True),
             written(found["balanced_accuracy"]), written(found["macro_f1"]))
        )  # fmt: skip
        if predictions is not base and (gap.mean.low > 0 or gap.mean.high < 0):
            apart.append(f"{name} ({view}, {head})")
    told = ", ".join(apart) if apart else "None"
    head = ("encoder", "shown", "head", "macro ROC AUC", "difference", "balanced accuracy",
            "macro F1")  # fmt: skip
    lines = [
        "# What an encoder brings",
        "",
        f"{networks.get(NETWORK).title} with a frozen backbone, {options.size} × {options.size} "
        f"pixels a picture or a joint, {FOLDS} folds by radiograph, {options.repeats} repeats: "
        f"{len(first.files)} images of {len(set(first.radiographs))} radiographs of "
        f"{options.data.name}; radiographs filed under several classes are left out. In "
        "brackets: 95 % intervals by bootstrap over radiographs, of the mean of the repeats. "
        "Difference: from ImageNet weights, the whole picture and the head on classes, paired. An "
        "AUC of 0.5 is chance. All settings were fixed before these figures were seen, and none "
        "was altered afterwards.",
        "",
        "The T-scores of this data set, by which its classes were made too, are from quantitative "
        "ultrasound, not from DXA. The head on the T-score is a ridge regression on it, cut at "
        f"{OSTEOPENIA:g} and {OSTEOPOROSIS:g} (the WHO's limits, which were set for DXA). A "
        "balanced accuracy of 0.333 is that of calling every image the same class: where a "
        "regression finds nothing it answers with the mean.",
        "",
        *documents.table(head, table),
        f"Told apart from ImageNet weights on the whole picture (the interval of the difference "
        f"leaves out 0): {told}. Each interval stands alone: of {len(table) - 1} rows that are no "
        f"better, {0.05 * (len(table) - 1):.1f} would be expected to be told apart by chance. The "
        f"row of {AGE} says what the patient's age alone does, without any picture.",
        "",
        *told_of_encoders(options.encoders),
    ]
    return "\n".join(lines)


def told_of_encoders(encoders: Sequence[tuple[str, str | None]]) -> Iterator[str]:
    """Yield what the files beside encoders say of how they were trained."""
    for name, source in encoders:
        file = pretrained.file_of(NETWORK, source) if source else None
        if file is None or not file.with_suffix(".json").is_file():
            continue
        facts = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        seen, config = facts["validation"], facts["config"]
        kappa = seen["quadratic_weighted_kappa"]
        yield (
            f"The encoder {name} (SHA-256 {facts['sha256'][:12]}…) was trained by `python -m "
            f"kop_core pretrain` on {facts['data']['files'] - seen['pictures']:,} pictures of "
            f"{facts['data']['name']} in {len(facts['data']['classes'])} classes, "
            f"{config['size']} × {config['size']} pixels, {facts['epochs_run']} epochs, from the "
            f"weights {config['pretrained']}. On {seen['pictures']:,} others of "
            f"{seen['persons']:,} persons its quadratic weighted kappa is {kappa['value']:.2f} "
            f"(95 % CI {kappa['low']:.2f} to {kappa['high']:.2f}). {seen['note']}"
        )
        yield ""


def encoder(text: str) -> tuple[str, str | None]:
    """Return name and source of an encoder as it is named on the command line."""
    name, _, path = text.partition("=")
    return name, path or (None if name == FRESH else name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument(
        "--encoders",
        type=encoder,
        nargs="+",
        default=[encoder(name) for name in (FRESH, *pretrained.named(NETWORK))],
        metavar="NAME[=FILE]",
    )
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=VIEWS)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, metavar="FILE", help="a page in Markdown")
    options = parser.parse_args()
    rows = []
    for row in measured(options):
        rows.append(row)
        found = repeated.figures(row[3], METRICS[:1], draws=200)["macro_roc_auc"]
        print(f"{row[0]:10} {row[1]:10} {row[2]:8} macro ROC AUC {written(found)}", flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page(rows, options), encoding="utf-8")
        print(f"The page is {options.out}.")


if __name__ == "__main__":
    main()
