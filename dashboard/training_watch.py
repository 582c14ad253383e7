"""Runs on the training page: the list of them, and one as it learns.

A run's state is only on disk, so every session sees the same, whoever started it. What
changes by itself is drawn in fragments that look again while a run is alive, and no longer.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard import parts, training_words
from dashboard.evaluated import LINE
from dashboard.training_words import ALIVE
from kop_core import model_store
from kop_core.errors import KopError, RunError
from kop_core.figures import style
from kop_core.figures import training as figures
from kop_core.training import runs

if TYPE_CHECKING:
    from kop_core.training.runs import Run

EVERY = 1.5  # seconds between two looks at a run that is alive
EVERY_LIST = 3.0
AT_ONCE_MOST = 8
_LOG_BYTES = 32_000
STYLE = """
<style>
.kop-row {display: flex; flex-wrap: wrap; gap: .2rem 2rem; font-size: .95rem;
  margin: 0 !important; padding: 0 !important;}
.kop-row div {display: flex; gap: .5rem;}
.kop-row dt {opacity: .8; font-weight: 400;}
.kop-row dd {margin: 0 !important; font-weight: 600; font-variant-numeric: tabular-nums;}
/* Streamlit fades what is about to be drawn anew; here that is every other second. */
[data-stale="true"] {opacity: 1 !important; transition: none !important;}
</style>
"""
# Signs of the states for a table, which shows no icon font: never a word alone, never colour
# alone. Drawn on a grid of 24.
_SIGNS = {
    "running": ("#009E73", "M8 5v14l11-7z"),
    "queued": ("#5B8DB8", "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 2a7 7 0 1 1 0 14 7 7 0 0 1 0-14z"
               "m-1 2v6l4.5 2.7.8-1.3-3.8-2.2V7z"),
    "interrupted": ("#C77700", "M12 3 1.5 21h21zm-1 7h2v6h-2zm0 7.2h2v2h-2z"),
    "failed": ("#C0392B", "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM8.5 7.1 12 10.6l3.5-3.5 1.4 1.4"
               "L13.4 12l3.5 3.5-1.4 1.4-3.5-3.5-3.5 3.5-1.4-1.4 3.5-3.5-3.5-3.5z"),
    "stopped": ("#7A8B94", "M6 6h12v12H6z"),
    "finished": ("#7A8B94", "m9.5 17.5-5-5 1.6-1.6 3.4 3.4 8.4-8.4 1.6 1.6z"),
}  # fmt: skip


# The list.


def draw_list(found: Sequence[Run]) -> None:
    """Draw the runs as a table that looks again while one is alive; a row opens its run."""
    alive = any(run.state in ALIVE for run in found)
    st.fragment(_table, run_every=EVERY_LIST if alive else None)(alive)


def _table(was_alive: bool) -> None:
    found = training_words.in_order(runs.list_runs())
    if not found or (was_alive and not any(run.state in ALIVE for run in found)):
        st.rerun()
    opened = st.session_state.get("runs_opened", 0)
    chosen = st.dataframe(
        [_row(run) for run in found],
        column_config={
            "": st.column_config.ImageColumn("", width=36),
            "State": st.column_config.TextColumn(width=84),
            "Run": st.column_config.TextColumn(width=164),
            "Epochs": st.column_config.TextColumn(width=70),
            "Best so far": st.column_config.TextColumn(
                width=160,
                help="The best accuracy after an epoch, and what it was measured on.",
            ),
            "Accuracy (95 % CI)": st.column_config.TextColumn(
                width=124, help="Of the model that came out, on its whole test part."
            ),
            "Split": st.column_config.TextColumn(
                width=172,
                help="What was kept together. Copied: test images that have copies in training.",
            ),
            "Begun": st.column_config.TextColumn(width=110),
        },
        hide_index=True,
        height=min(36 * len(found) + 40, 480),
        row_height=36,
        on_select="rerun",
        selection_mode=["single-row", "single-cell"],
        # A run that was opened is not chosen any more when one comes back.
        key=f"runs_{opened}",
        alt="The runs, a row each: state, name, epochs, best accuracy and split",
    )
    places = [*chosen["selection"]["rows"], *(row for row, _ in chosen["selection"]["cells"])]
    if places and places[0] < len(found):
        st.session_state["runs_opened"] = opened + 1
        open_run(found[places[0]].id)
        st.rerun()


def open_run(run_id: str) -> None:
    """Put a run into the page's address."""
    st.query_params.from_dict({"run": run_id})


def _row(run: Run) -> dict[str, Any]:
    facts = training_words.split(run)
    return {
        "": _sign(run.state),
        "State": training_words.state(run)[0],
        "Run": training_words.title(run),
        "Epochs": training_words.epochs(run),
        "Best so far": training_words.short_best(run),
        "Accuracy (95 % CI)": _measured(run),
        "Split": training_words.short_split(facts),
        "Begun": training_words.when(run.created, this_year=False),
    }


def _measured(run: Run) -> str:
    """Return the accuracy of the model that came out of a run, if one did."""
    if run.state in ALIVE or not (run.folder / model_store.CARD).is_file():
        return ""
    try:
        return parts.figure(model_store.open_model(run.folder).metrics["accuracy"])
    except KopError:
        return ""  # what is wrong is said where the run is opened


def _sign(state: str) -> str:
    colour, path = _SIGNS.get(state, _SIGNS["failed"])
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24">'
        f'<path fill="{colour}" fill-rule="evenodd" d="{path}"/></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode()


def draw_at_once() -> None:
    """Draw how many runs train at once: a setting of the machine, for everybody."""
    now = runs.at_once()
    with st.popover(f"{now} at once" if now > 1 else "One at a time", icon=":material/tune:"):
        st.session_state["runs_at_once"] = now  # another session may have changed it
        st.number_input(
            "Runs that train at the same time",
            1,
            AT_ONCE_MOST,
            key="runs_at_once",
            on_change=_set_at_once,
            help="The others wait in a queue. Two at once on one processor are no faster than one "
            "after the other, and need twice the memory.",
        )


def _set_at_once() -> None:
    try:
        runs.set_at_once(int(st.session_state["runs_at_once"]))
    except (KopError, OSError) as error:
        st.session_state["runs_said"] = f"The setting could not be kept: {error}"


# One run.


def draw_head(run: Run) -> None:
    """Draw what a run is, its state, and the buttons that the state allows."""
    word, icon, colour = training_words.state(run)
    name, buttons = st.columns([1.25, 1], gap="medium", vertical_alignment="center")
    with name:
        st.title(parts.escape(training_words.title(run)), anchor=False)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(word, icon=icon, color=colour)
            if facts := training_words.split(run):
                parts.split_badge(facts)
    with buttons:
        _buttons(run)
    begun = training_words.when(run.created)
    st.markdown(
        parts.escape(training_words.what(run) + (f" Begun {begun}." if begun else "")), width=LINE
    )
    _said(run)


def _buttons(run: Run) -> None:
    asked = stop_is_asked(run)
    with st.container(horizontal=True, horizontal_alignment="right"):
        if run.state in ALIVE and st.button(
            "Stopping" if asked else "Stop", icon=":material/stop_circle:", disabled=asked
        ):
            _ask_stop(run)
        if run.state in ("interrupted", "stopped", "failed") and st.button(
            "Resume",
            icon=":material/play_circle:",
            type="primary" if run.state == "interrupted" else "secondary",
            help="Go on after the last whole epoch, as if it had never ended.",
        ):
            _do(runs.resume, run)
        if run.config is not None and st.button(
            "Use these settings again",
            icon=":material/content_copy:",
            help="Set up a new run that begins with these settings.",
        ):
            st.query_params.from_dict({"again": run.id})
            st.rerun()
        if run.state not in ALIVE and st.button("Delete", icon=":material/delete:"):
            _ask_delete(run)


def _said(run: Run) -> None:
    """Say what became of a run, and what came of the last button."""
    if said := st.session_state.pop("runs_said", None):
        st.error(parts.escape(said), icon=":material/error:")
    told = parts.escape(training_words.ended(run))
    if run.state == "failed":
        st.error(told, icon=":material/error:")
    elif run.state == "interrupted":
        st.warning(told, icon=":material/warning:")
    elif run.state == "stopped":
        st.info(told, icon=":material/info:")
    elif run.message:  # it is at work, or has finished, and its folder was altered
        st.warning(told, icon=":material/warning:")


def stop_is_asked(run: Run) -> bool:
    """Return whether a run that is alive has been asked to stop."""
    return run.state in ALIVE and (run.folder / "stop").exists()


def _do(act: Any, run: Run) -> bool:
    """Do something to a run and draw the page anew; what forbids it is said there."""
    try:
        act(run)
    except KopError as error:
        st.session_state["runs_said"] = str(error)
    except OSError as error:
        st.session_state["runs_said"] = f"That could not be done: {error.strerror or error}."
    st.rerun()


@st.dialog("Stop this run?")
def _ask_stop(run: Run) -> None:
    if run.state == "queued":
        st.markdown("It has not begun to train. It is taken out of the queue.")
    else:
        st.markdown(parts.escape(training_words.kept_when_stopped(run)))
    stop, go_on = st.columns(2)
    if stop.button("Stop it", type="primary", icon=":material/stop_circle:", width="stretch"):
        _do(runs.stop, run)
    if go_on.button("Let it go on", width="stretch"):
        st.rerun()


@st.dialog("Delete this run?")
def _ask_delete(run: Run) -> None:
    size = training_words.size(_bytes_in(run))
    st.markdown(
        parts.escape(
            f"{training_words.title(run)}: its history, weights, predictions and log ({size}) are "
            "removed from this machine, for everybody. The pictures that it was trained on and a "
            "model that was published from it stay."
        )
    )
    delete, keep = st.columns(2)
    if delete.button("Delete it", type="primary", icon=":material/delete:", width="stretch"):
        try:
            runs.delete(run)
        except (KopError, OSError) as error:
            st.error(parts.escape(str(error)), icon=":material/error:")
            return
        st.query_params.clear()
        st.session_state["runs_deleted"] = training_words.title(run)
        st.rerun()
    if keep.button("Keep it", width="stretch"):
        st.rerun()


def _bytes_in(run: Run) -> int:
    def size(path: Any) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return 0

    return sum(size(path) for path in run.folder.rglob("*") if path.is_file())


# As it learns.


def draw_learning(run: Run) -> None:
    """Draw how a run learns; it looks again every other second while the run is alive."""
    alive = run.state in ALIVE
    st.fragment(_learning, run_every=EVERY if alive else None)(
        run.id, run.state, stop_is_asked(run)
    )


def _learning(run_id: str, was: str, stop_was_asked: bool) -> None:
    try:
        run = runs.get(run_id)
    except RunError:
        st.rerun()  # the page says that it is gone
        return
    if run.state != was or stop_is_asked(run) != stop_was_asked:
        st.rerun()  # the head and the buttons are others now
    if run.state == "queued":
        _queued(run)
    elif run.state == "running":
        _running(run, stop_was_asked)
    rows = run.history
    if rows or run.state == "running":
        _curves(run, rows)
    _log(run)


def _queued(run: Run) -> None:
    told = training_words.queue(run, runs.list_runs(), runs.at_once())
    st.info(parts.escape(told), icon=":material/schedule:")


def _running(run: Run, stopping: bool) -> None:
    whole, inside = st.columns(2, gap="medium")
    share, said = training_words.progress_of_run(run)
    whole.progress(share, text=parts.escape(said))
    share, said = training_words.progress_of_epoch(run)
    inside.progress(share, text=parts.escape(said))
    if stopping:
        st.caption(
            ":material/hourglass_empty: It stops at the next step; then what it has learned is "
            "measured on the test part."
        )
    rows = "".join(
        f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd></div>"
        for k, v in training_words.costs(run)
    )
    st.html(f'<dl class="kop-row">{rows}</dl>')


def _curves(run: Run, rows: list[dict[str, Any]]) -> None:
    watched, kept = training_words.watched(run), training_words.kept_epoch(run)
    epochs = max(run.epochs, rows[-1]["epoch"] if rows else 1)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Accuracy by epoch** (the paper's Figure 7)")
        _chart(figures.accuracy(rows, epochs, watched, kept), "accuracy", _in_words(rows, watched))
    with right:
        st.markdown("**Loss by epoch** (the paper's Figure 8)")
        _chart(
            figures.loss(rows, epochs, watched, kept),
            "loss",
            "Loss by epoch; the numbers are in the table of epochs below",
        )
    has_f1 = any("val_macro_f1" in row for row in rows)
    small = st.columns(2, gap="medium")
    with small[0]:
        st.markdown("**Macro F1 by epoch**")
        if has_f1 or not rows:
            _chart(figures.macro_f1(rows, epochs, watched), "f1", "Macro F1 by epoch")
        else:
            st.caption("This run was made by a version of KOP that did not keep it.")
    with small[1]:
        st.markdown("**Learning rate**")
        _chart(figures.learning_rate(rows, epochs), "rate", "Learning rate by epoch")
    _below_the_curves(run, rows)


def _below_the_curves(run: Run, rows: list[dict[str, Any]]) -> None:
    st.caption(
        "The curve of the training pictures is the mean over the epoch while the weights change, "
        "with augmentation and dropout; the other is measured after it, without. So the second "
        "can lie above the first."
    )
    if training_words.watched(run) == figures.TEST:
        st.caption(
            "There is no validation part: the test part is looked at after every epoch, as in the "
            "paper. No epoch is chosen by it."
        )
    with st.expander("The epochs as a table"):
        if rows:
            st.dataframe(
                rows,
                hide_index=True,
                height=min(36 * len(rows) + 40, 400),
                key="epochs",
                alt="Every epoch: accuracy, loss, learning rate and seconds",
            )
        else:
            st.caption("No whole epoch is done yet.")


def _in_words(rows: list[dict[str, Any]], watched: str) -> str:
    if not rows:
        return "Accuracy by epoch. No whole epoch is done yet."
    last = rows[-1]
    return (
        f"Accuracy by epoch. Epoch {last['epoch']}: training {100 * last['accuracy']:.0f} %, "
        f"{watched} {100 * last['val_accuracy']:.0f} %."
    )


def _chart(figure: Any, name: str, alt: str) -> None:
    config = style.chart_config(f"kop_run_{name}")
    st.plotly_chart(figure, config=config, key=f"run_{name}", alt=alt)


def _log(run: Run) -> None:
    path = run.folder / "log.txt"
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _LOG_BYTES))
            text = training_words.tail(stream.read().decode(errors="replace"))
    except OSError:
        return  # a run that was made in a terminal has none
    with st.expander("The end of its log"):
        st.code(text or "Nothing is in it yet.", language=None, height=260)
