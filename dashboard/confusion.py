"""The confusion page's matrix: the rule that it is counted by, and the cell that is chosen.

What is chosen is in the page's address, so that a colleague opens the same view. A chart
forgets its selection whenever its figure changes (and the outline of the chosen cell is part
of the figure), so a click is taken over into the session before anything is drawn.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import streamlit as st

from dashboard import parts
from dashboard.evaluated import say, table
from kop_core import model_store, wording
from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError
from kop_core.evaluation import Predictions, comparison, matrix_words, published, words
from kop_core.evaluation.cells import ANY, MISTAKES, OTHERWISE, Cell, cell_from
from kop_core.evaluation.matrix import (
    ABSTAIN,
    MOST_LIKELY,
    NOT_CALLED,
    THRESHOLD,
    Difference,
    Matrix,
    Rule,
    confusion_matrix,
    difference,
    rule_from,
    to_csv,
)
from kop_core.evaluation.operating import LOW_BONE_MASS, OSTEOPOROSIS
from kop_core.figures import matrix as figures
from kop_core.figures.style import chart_config
from kop_core.model_store import PREDICTIONS, Model

A, B = "a", "b"
TRUE, CALLED, SIDE, SHOWN = (f"confusion_{n}" for n in ("true", "called", "side", "shown"))
_RULE, _LEVEL, _BESIDE = "confusion_rule", "confusion_level", "confusion_beside"
_CHARTS = {A: "matrix_a", B: "matrix_b", "difference": "matrix_difference"}
_RULES = {
    MOST_LIKELY: "Most likely class",
    ABSTAIN: "Abstain below",
    OSTEOPOROSIS.name: "Osteoporosis from",
    LOW_BONE_MASS.name: "Osteopenia or worse from",
}
_SHOWN = {
    figures.COUNTS: "Counts",
    figures.ROWS: "Shares of the row (recall)",
    figures.COLUMNS: "Shares of the column (precision)",
}
_NO_OTHER = ""
# What the page's address may hold.
_ADDRESS = ("model", "with", "rule", "level", "show", "cell", "side", "by", "page")


def predictions_of(model: Model) -> tuple[str, Predictions]:
    """Return the checksum of a model's predictions, and the predictions.

    Raises:
        DataSetError: if they were altered after the card was written, are for other classes,
            or are no table of predictions.
    """
    path = model.folder / PREDICTIONS
    try:
        checksum = model_store.checksum(path)
    except OSError as error:
        raise DataSetError(
            f"The predictions of {model.title} cannot be read ({error.strerror}). "
            f"{model_store.RESTORE}"
        ) from error
    on_card = model.card["checksums"][PREDICTIONS]
    return checksum, _predictions(checksum, on_card, str(model.folder), model)


@st.cache_data(max_entries=16, show_spinner=False)
def _predictions(checksum: str, on_card: str, folder: str, _model: Model) -> Predictions:
    return comparison.read_predictions(_model)


@st.cache_data(max_entries=128, show_spinner=False)
def matrix_of(checksum: str, rule: Rule, _predictions: Predictions) -> Matrix:
    """Return the confusion matrix of predictions under a rule; counted once."""
    return confusion_matrix(_predictions, rule)


@st.cache_data(max_entries=64, show_spinner=False)
def _difference(first: str, second: str, rule: Rule, _a: Predictions, _b: Predictions):
    return difference(_a, _b, rule)


# What is chosen.


def choose_other(by_id: dict[str, Model], model_id: str) -> Model | None:
    """Draw the choice of a second model, kept in the address, and return it if there is one."""
    others = [i for i in by_id if i != model_id]
    asked = st.query_params.get("with")
    if asked and asked not in by_id:
        st.warning(
            f"There is no model called {parts.escape(asked[:100])} that could stand beside it: it "
            "was deleted, renamed or cannot be read.",
            icon=":material/warning:",
        )
    if st.session_state.get(_BESIDE) not in (*others, _NO_OTHER):
        st.session_state[_BESIDE] = asked if asked in others else _NO_OTHER
    names = parts.model_names(by_id.values())
    chosen = st.selectbox(
        "Beside it",
        [_NO_OTHER, *others],
        format_func=lambda i: names[i] if i else "No other model",
        key=_BESIDE,
        disabled=not others,
    )
    note("with", chosen)
    return by_id[chosen] if chosen else None


def note(name: str, value: str) -> None:
    """Keep something in the address, or take it from there where there is nothing to keep."""
    if value:
        st.query_params[name] = value
    else:
        st.query_params.pop(name, None)


def view() -> str:
    """Return what the page shows, as its address has it, for :func:`address_of`."""
    return urlencode({n: v for n in _ADDRESS if (v := st.query_params.get(n))})


def address_of(shown: str, model: Model) -> dict[str, str]:
    """Return the parameters of the page's address that lead back to what it showed.

    Args:
        shown: by :func:`view`, as another page's address has it; other names in it are left out.
        model: whose matrix it leads to where that says nothing.
    """
    said = {name: value for name, value in parse_qsl(shown) if name in _ADDRESS}
    return said or {"model": model.id}


def choose_rule() -> str:
    """Draw the choice of what an image is called by, and return it; see :func:`rule_of`."""
    _fill_rule()
    return st.selectbox(
        "What is called",
        list(_RULES),
        format_func=_RULES.__getitem__,
        key=_RULE,
        help="By the plain rule each image is called the class with the highest score. A level "
        "moves the matrix: images without a score so high are called nothing, or the condition "
        "is called from there on. The level is looked at on the test part itself: what it does "
        "here is too good by what was gained by looking.",
    )


def rule_of(kind: str) -> Rule:
    """Draw the level of a rule that has one, kept in the address, and return the rule."""
    if kind == MOST_LIKELY:
        for name in ("rule", "level"):
            st.query_params.pop(name, None)
        return Rule()
    label = f"{_RULES[kind]} a score of"
    level = st.slider(label, 0, 100, step=1, format="%d %%", key=_LEVEL)
    note("rule", kind)
    note("level", str(level))
    if kind == ABSTAIN:
        return Rule(ABSTAIN, level / 100)
    return Rule(THRESHOLD, level / 100, kind)


def _fill_rule() -> None:
    if _RULE in st.session_state:
        st.session_state.setdefault(_LEVEL, 50)
        return
    asked, level = st.query_params.get("rule"), st.query_params.get("level")
    try:
        kind = THRESHOLD if asked in (OSTEOPOROSIS.name, LOW_BONE_MASS.name) else asked
        found = rule_from(kind, level, asked if kind == THRESHOLD else None)
    except DataSetError as error:
        st.warning(parts.escape(str(error)), icon=":material/warning:")
        found = Rule()
    st.session_state[_RULE] = found.condition if found.kind == THRESHOLD else found.kind
    st.session_state[_LEVEL] = round(100 * found.level)


def choose_shown() -> str:
    """Draw what is largest in a cell, kept in the address, and return it."""
    if SHOWN not in st.session_state:
        asked = st.query_params.get("show")
        st.session_state[SHOWN] = asked if asked in figures.SHOWN else figures.COUNTS
    shown = st.selectbox(
        "Shown in the cells", list(_SHOWN), format_func=_SHOWN.__getitem__, key=SHOWN
    )
    note("show", "" if shown == figures.COUNTS else shown)
    return shown


def take_click() -> None:
    """Take over a cell that was clicked, before what shows it is drawn."""
    for side, key in _CHARTS.items():
        state = st.session_state.get(key)
        points = state["selection"].get("points", []) if state else []
        seen = f"{key}_seen"
        if points and points != st.session_state.get(seen):
            true, column = points[-1]["customdata"][:2]
            st.session_state[TRUE] = CLASS_NAMES[int(true)]
            st.session_state[CALLED] = (*CLASS_NAMES, NOT_CALLED)[int(column)]
            if side in (A, B):
                st.session_state[SIDE] = side
        st.session_state[seen] = points


def choose_cell(rule: Rule, first: Model, second: Model | None) -> tuple[Cell, str]:
    """Draw the choice of a cell in words, kept in the address; return it and whose it is."""
    called = (OTHERWISE, ANY, *rule.columns)
    columns = st.columns([1, 1.2, 1.6] if second else 2)
    with columns[0]:
        st.selectbox(
            "Labelled", (ANY, *CLASS_NAMES), key=TRUE,
            format_func=lambda n: "Any class" if n == ANY else matrix_words.heading(n),
        )  # fmt: skip
    with columns[1]:
        st.selectbox(
            "Called by the model", called, key=CALLED,
            format_func=lambda n: {OTHERWISE: "Otherwise than labelled", ANY: "Anything"}.get(
                n) or matrix_words.heading(n),
        )  # fmt: skip
    side = A
    if second is not None:
        names = parts.model_names((first, second))
        sides = {A: names[first.id], B: names[second.id]}
        if st.session_state.get(SIDE) not in sides:
            asked = st.query_params.get("side")
            st.session_state[SIDE] = asked if asked in sides else A
        with columns[2]:
            side = st.selectbox("By", list(sides), format_func=sides.__getitem__, key=SIDE)
    cell = Cell(st.session_state[TRUE], st.session_state[CALLED])
    note("cell", "" if cell == MISTAKES else cell.word)
    note("side", B if side == B else "")
    return cell, side


def fill_cell(rule: Rule) -> None:
    """See that the session names a cell that there is: the address's, else all mistakes."""
    state = st.session_state
    if TRUE not in state or CALLED not in state:
        asked = cell_from(st.query_params.get("cell")) or MISTAKES
        state[TRUE], state[CALLED] = asked.true, asked.called
    if state[CALLED] not in (OTHERWISE, ANY, *rule.columns):
        state[CALLED] = OTHERWISE


def _outlined(rule: Rule) -> tuple[int, int] | None:
    true, called = st.session_state[TRUE], st.session_state[CALLED]
    if true not in CLASS_NAMES or called not in rule.columns:
        return None
    return CLASS_NAMES.index(true), rule.columns.index(called)


# What is drawn.


def draw_one(found: Matrix, shown: str) -> None:
    """Draw a matrix, large."""
    chosen = _outlined(found.rule)
    _chart(figures.confusion(found, shown, chosen, height=440), A, "Confusion matrix")
    st.caption(
        "Rows: the label. Columns: what the model called it. Click a cell, or choose it by its "
        "words, to see its X-rays. Intervals: rest on a cell, or open the table below."
    )


def draw_two(
    models: tuple[Model, Model],
    tables: tuple[Predictions, Predictions],
    checksums: tuple[str, str],
    found: tuple[Matrix, Matrix],
    shown: str,
) -> Difference | None:
    """Draw two matrices and, where both saw the same images, their difference; return that."""
    prints = tuple(str(m.card["data"].get("fingerprint")) for m in models)
    comparable, why = _comparable(checksums, prints, *models)
    rule, chosen = found[0].rule, _outlined(found[0].rule)
    names = parts.model_names(models)
    apart = _difference(*checksums, rule, *tables) if comparable else None
    many = 3 if comparable else 2
    heads = st.columns(many, gap="small", vertical_alignment="bottom")
    charts, notes = st.columns(many, gap="small"), st.columns(many, gap="small")
    for place, side, model, one in zip(range(2), (A, B), models, found):
        with heads[place]:
            st.markdown(f"**{parts.escape(names[model.id])}**  \nAccuracy {parts.accuracy(model)}")
            parts.split_badge(model.card["split"])
        with charts[place]:
            figure = figures.confusion(one, shown, chosen, height=390)
            _chart(figure, side, f"Confusion matrix of {names[model.id]}")
        with notes[place]:
            st.caption(parts.escape(matrix_words.answer(one)))
            parts.quiet_cautions(model)
    if apart is None:
        st.info(
            parts.escape(f"{names[models[1].id]}: {why} So no difference is drawn."),
            icon=":material/info:",
        )
        return None
    with heads[2]:
        st.markdown("**The first less the second**")
        st.badge("the same test images, paired", color="gray")
    with charts[2]:
        figure = figures.difference(apart, shown, chosen, height=390)
        _chart(figure, "difference", "Difference of the two matrices, in percentage points")
    with notes[2]:
        st.caption(
            "Images, and percentage points (pp) with 95 % intervals. Filled where beyond chance: "
            "green in favour of the first model, vermilion against it. Not being called is neither "
            "better nor worse, and is not filled."
        )
    return apart


@st.cache_data(max_entries=64, show_spinner=False)
def _comparable(
    checksums: tuple[str, str], fingerprints: tuple[str, str], _a: Model, _b: Model
) -> tuple[bool, str]:
    return comparison.same_test_part(_a, _b)


def _chart(figure, side: str, alt: str) -> None:
    st.plotly_chart(
        figure,
        config=chart_config(f"kop_confusion_{side}"),
        key=_CHARTS[side],
        on_select="rerun",
        selection_mode="points",
        alt=f"{alt}; the same as in the table below",
    )


def draw_tables(
    models: tuple[Model, ...], found: tuple[Matrix, ...], apart: Difference | None
) -> None:
    """Draw the matrices as tables with intervals, folded away."""
    names = parts.model_names(models)
    with st.expander("As a table, with intervals", icon=":material/table:"):
        for model, one in zip(models, found):
            name = names[model.id]
            basis = words.measured_on(one.images, one.groups if one.by_radiograph else None)
            st.markdown(f"**{parts.escape(name)}**")
            table(matrix_words.table(one), f"Confusion matrix of {name}")
            st.caption(
                f"Images; share of the row (recall on the diagonal) and of the column (precision), "
                f"each with its 95 % interval, from a bootstrap over "
                f"{'radiographs' if one.by_radiograph else 'files'}. All on {basis}."
            )
            _table_download(one, model)
        if apart is not None:
            st.markdown("**The first less the second**")
            table(matrix_words.difference_table(apart), "Difference of the two matrices")
            say(matrix_words.told_apart(apart, *names.values()))
            _table_download(apart, *models)


def _table_download(found: Matrix | Difference, *models: Model) -> None:
    splits = dict.fromkeys(wording.split_badge(m.card["split"])[0] for m in models)
    written = to_csv(found, " less ".join(m.id for m in models), "; ".join(splits))
    name = "_less_".join(m.id for m in models)
    st.download_button(
        "This table (CSV)", written.encode("utf-8-sig"), f"kop_matrix_{name}.csv", "text/csv",
        icon=":material/download:", on_click="ignore", key=f"csv_{name}",
    )  # fmt: skip


def draw_published() -> None:
    """Draw the paper's Figure 9 as far as its Table 2 determines it, folded away."""
    with st.expander("The paper's Figure 9, beside it", icon=":material/article:"):
        found = published.figure_9()
        left, right = st.columns([1, 1], gap="medium")
        with left:
            st.plotly_chart(
                figures.published(found),
                config=chart_config("kop_paper_figure_9"),
                key="matrix_paper",
                alt="The paper's confusion matrix; the same as in the table beside it",
            )
        with right:
            parts.split_badge(published.SPLIT)
            say(
                f"The paper tested on {published.TEST_IMAGES} images. Its Figure 9 is a picture; "
                "what is here follows from the precision and recall that its Table 2 prints. "
                "Exactly one set of sums of rows and columns and of the diagonal gives them: of "
                f"{found.fixed.images}, {sum(found.fixed.correct)} are right "
                f"({wording.percent(found.fixed.accuracy)}). One number stays free, so "
                f"{found.possible} matrices fit; cells that differ between them are given as "
                "ranges. The figures have no interval, and it is not known how many radiographs "
                "they rest on."
            )
            table(
                matrix_words.ranges_table(found.low, found.high),
                "The paper's confusion matrix, with ranges",
            )
