"""Pieces that several pages draw: small functions of values, with a key where they need one."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

import streamlit as st

from kop_core import model_store, wording
from kop_core.classes import CLASSES
from kop_core.model_store import BrokenModel, Model

_ENTERED, _WANTED = "kop_entered", "kop_wanted"
_STYLE = """
<style>
[data-testid="stMainBlockContainer"] {padding: 3.9rem 2rem 2rem 2rem !important;}
h1 {font-size: 1.6rem !important; padding: .2rem 0 !important;}
h2 {font-size: 1.35rem !important;}
h3 {font-size: 1.15rem !important; padding: .3rem 0 !important;}
/* Streamlit's greys are lighter than WCAG AA asks of text. */
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {
  color: inherit !important; opacity: .9;}
[data-testid="stTable"] th, [data-testid="stTable"] th * {color: inherit !important;}
/* White is not read on the pale primary colour of the dark theme; its ground is. */
[data-testid^="stBaseButton-primary"]:not(:disabled),
[data-testid^="stBaseButton-primary"]:not(:disabled) *,
[data-testid="stMultiSelect"] [data-tag], [data-testid="stMultiSelect"] [data-tag] * {
  color: light-dark(#FFFFFF, #10171A) !important;}
/* A badge says what split a figure is from: all of it is read, also in a narrow column. */
.stMarkdownBadge {white-space: normal !important; max-width: 100% !important;}
/* As high as the boxes beside them, so that labels and controls of a row stand in line. */
[data-testid="stButtonGroup"] [role="radiogroup"] button {min-height: 2.5rem !important;}
.js-plotly-plot .main-svg text {fill: currentColor !important;}
.kop-verdict {font-size: 1.2rem; line-height: 1.4; font-weight: 600; margin: 0 0 .3rem 0;}
.kop-facts {display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem;
  font-size: .875rem; margin: 0 !important; padding: 0 !important;}
.kop-facts dt {opacity: .75; font-weight: 400;}
.kop-facts dd {margin: 0 !important; overflow-wrap: anywhere;}
.kop-swatch {display: inline-block; width: .7rem; height: .7rem; border-radius: 2px;
  margin-right: .45rem;}
</style>
"""


def begin(page: str) -> None:
    """Begin a page: see that it runs inside ``app.py``, and set what the theme cannot.

    Streamlit runs a file in ``pages/`` by itself, without ``app.py``, when its address is
    the first that a fresh server is asked for. The page is then entered anew through
    ``app.py``, which leads back to it (see :func:`entered`).

    Args:
        page: the page's own file, such as ``"pages/home.py"``.
    """
    if not st.session_state.get(_ENTERED):
        st.session_state[_WANTED] = (page, st.query_params.to_dict())
        st.switch_page("app.py")
    st.html(_STYLE)
    # Streamlit tells its app the theme, but not its dialogs, which stand beside it.
    theme = st.context.theme.type
    if theme in ("light", "dark"):
        st.html(f"<style>:root {{color-scheme: {theme};}}</style>")


def entered() -> tuple[str, dict[str, str]] | None:
    """Note that ``app.py`` runs; return the page and parameters to lead back to, if any."""
    st.session_state[_ENTERED] = True
    return st.session_state.pop(_WANTED, None)


def not_a_device(more: str = "") -> None:
    """Say what KOP is not, and what else a page needs said at its foot."""
    st.caption(f"{wording.NOT_A_DEVICE} {more}")


def facts(pairs: list[tuple[str, str]]) -> None:
    """Draw pairs of words as a two-column list."""
    rows = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in pairs)
    st.html(f'<dl class="kop-facts">{rows}</dl>')


def models_here() -> dict[str, Model]:
    """Return the models by id; say which cannot serve, and if the address names none of them."""
    models, broken = model_store.list_models()
    broken_models(broken)
    if not models and not broken:
        no_models()
    asked = st.query_params.get("model")
    if models and asked and asked not in {m.id for m in models}:
        name = escape(asked[:100])
        why = (
            f"The model {name} cannot be read."
            if asked in {m.id for m in broken}
            else f"There is no model called {name} here: it was deleted or renamed."
        )
        st.warning(f"{why} Another is shown.", icon=":material/warning:")
    return {m.id: m for m in models}


def choose_model(by_id: dict[str, Model], key: str) -> str:
    """Draw the choice of a model, kept in the page's address, and return its id."""
    asked = st.query_params.get("model")
    if st.session_state.get(key) not in by_id:
        st.session_state.pop(key, None)
        if asked in by_id:
            st.session_state[key] = asked
    names = model_names(by_id.values())
    chosen = st.selectbox("Model", list(by_id), format_func=names.__getitem__, key=key)
    st.query_params["model"] = chosen
    return chosen


def model_names(models: Iterable[Model]) -> dict[str, str]:
    """Return what each model is called in a choice, by id; of one title each, with its id."""
    listed = list(models)
    titles = [m.title for m in listed]
    return {m.id: f"{m.title} ({m.id})" if titles.count(m.title) > 1 else m.title for m in listed}


def model_links(model_id: str) -> None:
    """Draw the ways from a model that is new here: to use it, and to read of it."""
    with st.container(horizontal=True):
        for page, label, icon in (
            ("pages/classify.py", "Classify X-rays with it", ":material/radiology:"),
            ("pages/report.py", "Read its report", ":material/analytics:"),
        ):
            st.page_link(page, label=label, icon=icon, query_params={"model": model_id})


def split_badge(split: dict[str, Any]) -> None:
    """Draw the badge that stands beside every accuracy."""
    text, warning = wording.split_badge(split)
    st.badge(
        text, icon=":material/warning:" if warning else None, color="orange" if warning else "gray"
    )


def accuracy(model: Model) -> str:
    """Return a model's accuracy with its interval and what it was measured on."""
    return wording.accuracy(model.card["evaluation"])


def broken_models(broken: list[BrokenModel]) -> None:
    """Name the model folders that cannot serve, and why."""
    for model in broken:
        st.warning(escape(model.reason), icon=":material/warning:")


def no_models() -> None:
    """Say what to do when there is no model at all."""
    st.info(
        f"There is no model in {model_store.default_folder()}. Train one with "
        "`python -m kop_core train`, or restore the folder with `git checkout models`.",
        icon=":material/info:",
    )


def card(model: Model) -> None:
    """Draw a model's card: what it is, what was measured, and what that means."""
    kept = model.card
    split_badge(kept["split"])
    cautions(model)
    statements(model)
    evaluation, split = kept["evaluation"], wording.split_badge(kept["split"])[0]
    st.markdown("**Measured on its test part**")
    st.dataframe(_class_table(model), hide_index=True, alt="Figures by class with 95 % intervals")
    st.caption(
        f"{evaluation['images']:,} images"
        + (f" of {evaluation['radiographs']:,} radiographs" if evaluation["radiographs"] else "")
        + f", {split}. In brackets: {escape(evaluation['interval'])}."
    )
    facts(_card_facts(model))


def cautions(model: Model) -> None:
    """Draw what stands beside every verdict of a model: that it guesses, faults found in it."""
    for caution in model.cautions:
        st.warning(escape(wording.unbroken(caution)), icon=":material/warning:")


def quiet_cautions(model: Model) -> None:
    """Draw the same in small print, where several models stand side by side."""
    for caution in model.cautions:
        st.caption(f":material/warning: {escape(wording.unbroken(caution))}")


def statements(model: Model) -> None:
    """Draw what a model's card says of it, as a list."""
    said = (escape(wording.unbroken(s)) for s in model.card["statements"])
    st.markdown("\n".join(f"- {s}" for s in said))


def escape(text: str) -> str:
    """Return text that Markdown shows as it is: file names hold what they like."""
    return re.sub(r"([\\`*_{}\[\]()#+\-!$~|<>:])", r"\\\1", text)


# Heading, name of the metric of one class, name of its mean over the classes.
_COLUMNS = (
    ("Sensitivity", "recall", "balanced_accuracy"),
    ("Specificity", "specificity", None),
    ("Precision", "precision", None),
    ("F1", "f1", "macro_f1"),
    ("ROC AUC", "roc_auc", "macro_roc_auc"),
)


def _class_table(model: Model) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = [{"Class": c.label} for c in CLASSES]
    rows.append({"Class": "Mean of the classes"})
    for heading, metric, mean in _COLUMNS:
        written = area if metric == "roc_auc" else figure
        for row, c in zip(rows, CLASSES):
            row[heading] = written(model.metrics.get(f"{metric}_{c.name}"))
        rows[-1][heading] = written(model.metrics.get(mean)) if mean else ""
    return rows


def figure(metric: dict[str, float | None] | None) -> str:
    """Return a share with its interval, short enough for a table."""
    if not metric or metric["value"] is None:
        return "not defined"
    return "{:.0f} % ({:.0f}–{:.0f})".format(*(100 * metric[k] for k in ("value", "low", "high")))


def area(metric: dict[str, float | None] | None) -> str:
    """Return an area under a curve with its interval, as the field writes it."""
    if not metric or metric["value"] is None:
        return "not defined"
    return "{:.2f} ({:.2f}–{:.2f})".format(*(metric[k] for k in ("value", "low", "high")))


def _card_facts(model: Model) -> list[tuple[str, str]]:
    kept = model.card
    training, data = kept["training"], kept["data"]
    config = training.get("config", {})
    pairs = [
        ("Model", f"{model.id}, version {model.version}"),
        ("Network", kept.get("reference", kept["network"])),
        ("Parameters", f"{kept['parameters']:,}" if "parameters" in kept else ""),
        ("Data", data.get("source", data.get("name", "unknown"))),
        ("Terms of the data", data.get("terms", "unknown")),
        ("Fingerprint", str(data.get("fingerprint", "unknown"))[:16]),
        (
            "Training",
            f"{training.get('epochs_run', '?')} epochs, {config.get('optimizer', '?')}, "
            f"learning rate {config.get('learning_rate', '?')}, batch "
            f"{config.get('batch_size', '?')}, seed {config.get('seed', '?')}, "
            f"{training.get('precision', '?')}",
        ),
        ("Weights", training.get("weights", "")),
        ("Calibration", _calibration(kept)),
        ("Libraries", wording.software(kept["versions"])),
    ]
    return [(k, str(v)) for k, v in pairs if v]


def _calibration(kept: dict[str, Any]) -> str:
    served, tried = kept.get("calibration"), kept.get("calibration_tried")
    if served:
        return f"temperature {served['temperature']:.2f}"
    if not tried:
        return "none: outputs are scores"
    if tried["temperature"] is None:
        return "none: too few radiographs to fit a temperature; outputs are scores"
    return "none: a temperature was tried and did not help; outputs are scores"
