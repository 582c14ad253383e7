"""What came out of a run: how good, where it fails, whether to trust it, beside what else."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from dashboard import influence, parts, pictures, training_words
from dashboard import report as kept
from dashboard.evaluated import chart, say, table, where_it_fails
from kop_core import model_store, radiographs, wording
from kop_core.classes import CLASS_NAMES, by_name
from kop_core.errors import KopError, RadiographError, RunError
from kop_core.evaluation import Predictions, Report, compared_words, comparison, words
from kop_core.evaluation.comparison import Difference
from kop_core.evaluation.significance import holm
from kop_core.figures import evaluation as figures
from kop_core.model_store import Model

if TYPE_CHECKING:
    from kop_core.training.runs import Run

WORST = 8
_ID = re.compile(r"[^a-z0-9]+")
STYLE = """
<style>
.kop-worst {display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
  gap: 1rem;}
.kop-worst figure {margin: 0; font-size: .85rem; line-height: 1.35;}
.kop-worst .kop-pair {display: flex; gap: 2px; background: #000; height: 13rem;
  align-items: center; justify-content: center; border-radius: 4px; overflow: hidden;}
.kop-worst img {max-height: 100%; min-width: 0; max-width: 100%; object-fit: contain;}
.kop-worst .kop-pair img + img {max-width: 50%;}
.kop-worst figcaption {margin-top: .3rem; overflow-wrap: anywhere;}
</style>
"""
_FIGURES = (
    ("Accuracy", "accuracy", True, "Share of the test images classified as labelled."),
    (
        "Balanced accuracy",
        "balanced_accuracy",
        True,
        "Mean sensitivity of the three classes: a rare class counts as much as a frequent one.",
    ),
    ("Macro F1", "macro_f1", True, "Mean F1 of the three classes."),
    (
        "Macro ROC AUC",
        "macro_roc_auc",
        False,
        "Mean over the classes of how well the score orders the images: 0.5 is chance, 1 perfect.",
    ),
)  # fmt: skip
_COMPARED = ("accuracy", "macro_f1")


def draw(run: Run) -> None:
    """Draw what came out of a run that has ended with a model."""
    try:
        model = model_store.open_model(run.folder)
        with st.spinner("Measuring the model on its test part. Some seconds, once."):
            checksum, report = kept.measured(model)
    except KopError as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
        return
    st.html(STYLE)
    _how_good(model, report)
    where_it_fails(report, "run_confusion")
    _worst(run, model, checksum)
    published = published_as(model)
    _whether_to_trust_it(model, report, published)
    _beside_others(model, report, published)
    _publish(run, model, published)


def draw_answer(run: Run) -> None:
    """Draw, for the top of the page, how good the model is that came out."""
    try:
        model = model_store.open_model(run.folder)
    except KopError:
        return  # what is wrong is said where the result would be
    st.html(f'<p class="kop-verdict">Accuracy {wording.unbroken(parts.accuracy(model))}</p>')


def published_as(model: Model) -> list[Model]:
    """Return the models that were published from a run: they have the same weights."""
    weights = model.card["checksums"][model_store.WEIGHTS]
    found, _ = model_store.list_models()
    return [m for m in found if m.card["checksums"][model_store.WEIGHTS] == weights]


# How good, where it fails, whether to trust it.


def _how_good(model: Model, report: Report) -> None:
    measured = report.evaluation
    st.subheader("How good", anchor=False)
    first, *others = words.answer(measured, model.card["split"])
    say(first, *others[:1])
    parts.split_badge(model.card["split"])
    rows = [
        {
            "Figure": title,
            "Value (95 % CI)": (words.share if is_share else words.number)(measured.metrics[name]),
            "What it is": what,
        }
        for title, name, is_share, what in _FIGURES
    ]
    table(rows, "Figures of all classes together")
    st.caption(f"In brackets: 95 % intervals. All on {words.basis(measured)}.")


def _whether_to_trust_it(model: Model, report: Report, published: list[Model]) -> None:
    st.subheader("Whether to trust it", anchor=False)
    left, right = st.columns([1.15, 1], gap="medium")
    with left:
        say(words.trust(model.card["split"]), *words.blindness(report.evaluation))
        parts.statements(model)
        parts.cautions(model)
    with right:
        st.markdown("**Whether its scores can be read as probabilities**")
        say(*words.calibration(report.calibration, report.evaluation)[:1])
        series = [("As it is", report.calibration.bins)]
        chart(
            figures.reliability(series, height=330),
            "run_reliability",
            "Reliability diagram: how often the class called was right, by its score",
        )
    for other in published:
        st.page_link(
            "pages/report.py",
            label=f"Read the full report of {parts.escape(other.title)}",
            icon=":material/analytics:",
            query_params={"model": other.id},
        )


# The worst mistakes.


@dataclass(frozen=True)
class Mistake:
    """A picture that was classified wrongly with a high score.

    Attributes:
        file: its path in the data set.
        true: the class that it is filed under.
        called: the class that the model called.
        score: of that class.
        copies: further pictures of the same radiograph with the same mistake.
    """

    file: str
    true: str
    called: str
    score: float
    copies: int


def worst_mistakes(predictions: Predictions, most: int = WORST) -> tuple[Mistake, ...]:
    """Return the mistakes with the highest scores, each radiograph once.

    Args:
        predictions: of the test part.
        most: how many at most.
    """
    called, groups, true = predictions.predicted, predictions.groups, predictions.true
    wrong = [i for i in range(len(called)) if called[i] != true[i]]
    wrong.sort(key=lambda i: (-predictions.probabilities[i, called[i]], predictions.files[i]))
    of_radiograph: dict[int, list[int]] = {}
    for i in wrong:
        of_radiograph.setdefault(groups[i], []).append(i)
    return tuple(
        Mistake(
            predictions.files[i],
            CLASS_NAMES[true[i]],
            CLASS_NAMES[called[i]],
            float(predictions.probabilities[i, called[i]]),
            sum((true[j], called[j]) == (true[i], called[i]) for j in others),
        )
        for i, *others in list(of_radiograph.values())[:most]
    )


def find_picture(folder: Path | None, file: str, sha256: str | None) -> Path:
    """Return where a test picture lies, if it is still the one that was measured.

    Args:
        folder: of the data set.
        file: its path there.
        sha256: its digest when the run began, if it is known.

    Raises:
        RunError: if it is not there, is another by now, or would lie outside the folder.
    """
    if folder is None:
        raise RunError("Where the pictures of this run are is not known.")
    of_table = folder.suffix.lower() == ".csv" and not folder.is_dir()
    root = folder.parent if of_table else folder
    path = root / file
    inside = not Path(file).is_absolute() and ".." not in Path(file).parts
    if not inside or not path.is_file():
        raise RunError(f"{file} is no longer in {root}.")
    if sha256 and _digest(path) != sha256:
        raise RunError(f"{file} has changed since the run began.")
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _worst(run: Run, model: Model, checksum: str) -> None:
    mistakes = worst_mistakes(Predictions.read(model.folder / model_store.PREDICTIONS))
    st.markdown("**The most confident mistakes**")
    if not mistakes:
        say("No test image was classified otherwise than it is labelled.")
        return
    digests = _digests(model.folder)
    shown, gone = [], []
    for mistake in mistakes:
        try:
            path = find_picture(run.data_folder, mistake.file, digests.get(mistake.file))
            shown.append((mistake, path, _picture(str(path), path.stat().st_mtime_ns)))
        except (RunError, RadiographError, OSError) as error:
            gone.append((mistake, error))
    say(
        "The pictures that were called something else than they are labelled, with the highest "
        "scores; each radiograph once. Some labels may be wrong rather than the model."
    )
    maps = _maps(model, checksum, shown) if shown else {}
    figures_drawn = "".join(_figure(m, picture, maps.get(m.file)) for m, _, picture in shown)
    st.html(f'<div class="kop-worst">{figures_drawn}</div>')
    if gone:
        _say_gone(run, gone)


def _maps(
    model: Model, checksum: str, shown: Sequence[tuple[Mistake, Path, str]]
) -> dict[str, str | None]:
    """Draw the button that asks for maps of influence; return those that there are."""
    known = influence.known()
    keys = {m.file: (model.version, checksum, m.file, m.called) for m, _, _ in shown}
    missing = [
        influence.Wanted(keys[m.file], model, m.file, path.read_bytes, m.called)
        for m, path, _ in shown
        if keys[m.file] not in known
    ]
    influence.ask(
        missing,
        "Show what the network looked at",
        "Grad-CAM for the class that was called. TensorFlow is started for it.",
        "show_maps",
    )
    if all(key in known for key in keys.values()):
        influence.scale()
        st.caption(
            "Right: Grad-CAM, what the network looked at for the class that it called, not the "
            "outline of a lesion. Each map runs to its own strongest place."
        )
    return {file: known[key] for file, key in keys.items() if key in known}


@st.cache_data(max_entries=64, show_spinner=False)
def _picture(path: str, changed: int) -> str:
    """Return a radiograph, at the size that it is shown, as an address that holds it."""
    return pictures.small(radiographs.read(Path(path).read_bytes(), Path(path).name))


def _figure(mistake: Mistake, picture: str, laid: str | None) -> str:
    name = html.escape(mistake.file)
    said = (
        f"Labelled <b>{mistake.true}</b>, called <b>{mistake.called}</b> with a score of "
        f"{wording.unbroken(wording.percent(mistake.score))}."
    )
    if mistake.copies:
        more = "1 more picture" if mistake.copies == 1 else f"{mistake.copies} more pictures"
        said += f" So were {more} of this radiograph." if mistake.copies > 1 else (
            f" So was {more} of this radiograph."
        )  # fmt: skip
    drawn = f'<img src="{picture}" alt="Radiograph {name}">'
    if laid:
        drawn += f'<img src="{laid}" alt="What the network looked at in {name}">'
    colour = by_name(mistake.called).colour
    return (
        f'<figure><div class="kop-pair" style="border-bottom: 4px solid {colour}">{drawn}</div>'
        f"<figcaption>{said}<br><span>{name}</span></figcaption></figure>"
    )


def _say_gone(run: Run, gone: Sequence[tuple[Mistake, Exception]]) -> None:
    where = f" {run.data_folder}" if run.data_folder else ""
    count = "1 of the pictures" if len(gone) == 1 else f"{len(gone)} of the pictures"
    st.info(
        parts.escape(
            f"{count} cannot be shown. {gone[0][1]} Put the pictures back into the folder{where} "
            "to see them; every figure on this page stays as it was measured."
        ),
        icon=":material/info:",
    )


def _digests(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a run when it began, as far as they are known."""
    import csv

    try:
        with (folder / "split.csv").open(newline="", encoding="utf-8") as stream:
            return {row["file"]: row["sha256"] for row in csv.DictReader(stream)}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError):
        return {}


# Beside other models.


def _beside_others(model: Model, report: Report, published: list[Model]) -> None:
    st.subheader("Beside the models that are already there", anchor=False)
    own = {m.id for m in published}
    others = [m for m in model_store.list_models()[0] if m.id not in own]
    names = parts.model_names(others)
    same, rest = [], []
    for other in others:
        comparable, why = comparison.same_test_part(model, other)
        try:
            if comparable:
                same.append((names[other.id], other, *kept.measured(other)))
                continue
        except KopError as error:  # it was altered
            why = str(error)
        rest.append((names[other.id], why))
    if same:
        rows, said = _compared(model, report, same)
        say(*said)
        table(rows, "This run and other models on the same test part, with differences")
        corrected = f", after Holm's correction for {len(same)} models" if len(same) > 1 else ""
        st.caption(
            f"All on {words.basis(report.evaluation)}, the same for each. A difference is this "
            "run's figure less the other's, image by image, with its 95 % interval. p: the two are "
            "exchanged at random, radiograph by radiograph; p is how often the difference is then "
            f"as large{corrected}. Where interval and p disagree, go by p."
        )
    elif others:
        say("None of the models in the model folder was tested on this test part.")
    else:
        say("There is no other model in the model folder.")
    if rest:
        with st.expander(f"Not comparable: {len(rest)}", expanded=not same and len(rest) <= 3):
            for name, why in rest:
                st.markdown(f"- **{parts.escape(name)}**: {parts.escape(why)}")


def _compared(
    model: Model, report: Report, same: Sequence[tuple[str, Model, str, Report]]
) -> tuple[list[dict[str, str]], list[str]]:
    """Return a row for the run and for each other model, and a sentence on each other model."""
    own = model.card["checksums"][model_store.PREDICTIONS]
    found = [
        _differences(own, checksum, model.folder, other.folder) for _, other, checksum, _ in same
    ]
    corrected = {name: holm([one[name].p for one in found]) for name in _COMPARED}
    rows, said = [_row("This run", report)], []
    for place, ((name, _, _, of_other), one) in enumerate(zip(same, found)):
        p = {figure: corrected[figure][place] for figure in _COMPARED}
        differences = {
            f"Difference in {heading}": _difference(figure, one[figure], p[figure])
            for heading, figure in zip(("accuracy", "macro F1"), _COMPARED)
        }
        rows.append({**_row(name, of_other), **differences})
        said.append(said_of_difference(name, one["accuracy"], p["accuracy"]))
    return rows, said


@st.cache_data(max_entries=64, show_spinner=False)
def _differences(checksum: str, other: str, _folder: Path, _other: Path) -> dict[str, Difference]:
    tables = [Predictions.read(f / model_store.PREDICTIONS) for f in (_folder, _other)]
    return comparison.differences(tables, _COMPARED)[0, 1]


def _row(name: str, report: Report) -> dict[str, str]:
    row = {"Model": parts.escape(name)}
    for heading, figure, is_share, _ in _FIGURES:
        measured = report.evaluation.metrics[figure]
        row[heading] = (words.share if is_share else words.number)(measured)
    return {**row, "Difference in accuracy": "", "Difference in macro F1": ""}


def _difference(figure: str, found: Difference, p: float | None) -> str:
    said = compared_words.difference(figure, found)
    return said if p is None else f"{said}, p {compared_words.equals(p)}"


def said_of_difference(name: str, found: Difference, p: float | None) -> str:
    """Return whether a run is more accurate than another model, in one sentence.

    Args:
        name: what the other model is called.
        found: the run's accuracy less the other's.
        p: of it, corrected for how many models the run is held against.
    """
    if found.value is None or p is None:
        return f"How this run and {name} differ in accuracy is not defined."
    by = _difference("accuracy", found, p)
    if p > compared_words.LEVEL:
        return (
            f"This run and {name} cannot be told apart by this test part: the difference in "
            f"accuracy is {by}."
        )
    word = "more" if found.value > 0 else "less"
    return f"This run is {word} accurate than {name} on this test part, by {by}."


# Publishing.


def _publish(run: Run, model: Model, published: list[Model]) -> None:
    """Draw the form that puts a run among the models, or where it is if it is there."""
    st.subheader("Publish", anchor=False)
    for other in published:
        st.success(
            parts.escape(f"Published as {other.id}: {other.title}."),
            icon=":material/check_circle:",
        )
        parts.model_links(other.id)
    if published:
        with st.expander("Publish under another name"):
            _publish_form(run, model)
    else:
        say(
            "A published model is in the list of the Classify page at once, for everybody who "
            "uses this KOP. Its card takes along what is said above."
        )
        _publish_form(run, model)


def _publish_form(run: Run, model: Model) -> None:
    data = model.card["data"]
    with st.form("publish", border=True):
        left, right = st.columns(2, gap="medium")
        name = left.text_input(
            "Name",
            slug(training_words.title(run)),
            max_chars=64,
            help="Its folder and address: small letters, digits, dots, hyphens, underscores.",
        )
        title = right.text_input("Title", training_words.title(run), max_chars=120)
        source = left.text_input(
            "Where the pictures came from",
            str(data.get("source") or data.get("name") or ""),
            max_chars=300,
            help="For its card: the collection, its authors, its address.",
        )
        terms = right.text_input(
            "Terms of the pictures",
            str(data.get("terms") or ""),
            max_chars=300,
            placeholder="For instance: CC BY 4.0, or research use only",
            help="For its card: what the data's terms say of weights trained on them.",
        )
        asked = st.form_submit_button("Publish", type="primary", icon=":material/publish:")
    if not asked:
        return
    try:
        model_store.publish(
            run.folder,
            name.strip(),
            title=title.strip() or None,
            source=source.strip() or None,
            terms=terms.strip() or None,
        )
    except KopError as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
    except OSError as error:
        st.error(
            parts.escape(
                f"The model could not be written to {model_store.default_folder()}: "
                f"{error.strerror or error}."
            ),
            icon=":material/error:",
        )
    else:
        st.rerun()


def slug(title: str) -> str:
    """Return a name for a model's folder, made of a title; empty if nothing of it serves."""
    return _ID.sub("-", title.lower()).strip("-")[:64].strip("-")
