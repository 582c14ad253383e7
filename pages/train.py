"""Train: set up a run, watch it learn, finish it."""

from __future__ import annotations

import streamlit as st

from dashboard import (
    parts,
    training_exports,
    training_result,
    training_watch,
    training_words,
)
from kop_core import model_store
from kop_core.errors import UnknownRun
from kop_core.training import runs


def main() -> None:
    """Draw the page: one run, the form for a new one, or the list of all."""
    parts.begin("pages/train.py")
    st.html(training_watch.STYLE)
    asked, again = st.query_params.get("run"), st.query_params.get("again")
    if asked:
        _one(asked)
    elif again or "new" in st.query_params:
        _back()
        _set_up(again)
    else:
        _all()
    parts.not_a_device()


def _one(run_id: str) -> None:
    _back()
    try:
        run = runs.get(run_id)
    except UnknownRun:
        st.title("This run is not here", anchor=False)
        st.warning(
            parts.escape(
                f"There is no run called {run_id[:100]} on this machine. It was deleted, or the "
                "address is of another machine."
            ),
            icon=":material/warning:",
        )
        _list(list(runs.list_runs()))
        return
    training_watch.draw_head(run)
    if has_model := not run.alive and (run.folder / model_store.CARD).is_file():
        training_result.draw_answer(run)
    training_watch.draw_learning(run)
    if has_model:
        training_result.draw(run)
        training_exports.draw(run)


def _all() -> None:
    found = list(runs.list_runs())
    if title := st.session_state.pop("runs_deleted", None):
        st.toast(f"{parts.escape(title)} was deleted.", icon=":material/delete:")
    if found:
        st.title("Train a network", anchor=False)
        _list(found)
    else:
        _set_up(None)
    training_exports.draw_import()


def _list(found: list) -> None:
    if not found:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Set up a run", type="primary", icon=":material/add:"):
            st.query_params.from_dict({"new": "1"})
            st.rerun()
        training_watch.draw_at_once()
        st.caption("Click a row to open its run. Runs go on when you close this page.")
    training_watch.draw_list(found)


def _set_up(again: str | None) -> None:
    """Draw the form, with the settings of another run if one asks for them."""
    from dashboard import training_setup

    prefill = data_folder = None
    st.title("Set up a run", anchor=False)
    if again:
        try:
            run = runs.get(again)
        except UnknownRun:
            st.info(
                "The run whose settings were asked for is not here any more. The form begins with "
                "the usual ones.",
                icon=":material/info:",
            )
        else:
            prefill, data_folder = run.config, run.data_folder
            st.caption(f"With the settings of {parts.escape(training_words.title(run))}.")
    training_setup.draw(prefill=prefill, data_folder=data_folder)


def _back() -> None:
    if st.button("All runs", icon=":material/arrow_back:", type="tertiary"):
        st.query_params.clear()
        st.rerun()


main()
