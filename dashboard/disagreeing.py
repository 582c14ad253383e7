"""The X-rays on which two models disagree, as pictures with what both looked at."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from functools import partial

import streamlit as st

from dashboard import influence, parts, pictures
from dashboard.evaluated import say, table
from kop_core import wording
from kop_core.classes import by_name
from kop_core.evaluation import compared_words as words
from kop_core.evaluation.compared import Compared, Disagreement, Entry, disagreements
from kop_core.model_store import PREDICTIONS
from kop_core.source_images import SourceImages

AT_ONCE = 6
STYLE = """
<style>
.kop-apart {display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr));
  gap: 1.1rem;}
.kop-apart figure {margin: 0; font-size: .85rem; line-height: 1.35; min-width: 0;}
.kop-apart .kop-pictures {display: grid; gap: 2px; background: #000; border-radius: 4px;
  overflow: hidden; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); height: 12.5rem;}
.kop-apart .kop-pictures div {display: flex; flex-direction: column; min-width: 0; min-height: 0;}
.kop-apart img {width: 100%; flex: 1; min-height: 0; object-fit: contain;}
.kop-apart .kop-pictures span {background: #1A2429; color: #E4EBED; font-size: .75rem;
  padding: .1rem .4rem; overflow-wrap: anywhere;}
.kop-apart figcaption {margin-top: .3rem; overflow-wrap: anywhere;}
</style>
"""


def draw(compared: Compared) -> None:
    """Draw what two models, chosen here, disagree on."""
    pairs = {f"{pair.first}, {pair.second}": pair for pair in compared.tested}
    left, right = st.columns([1, 1.3], gap="medium", vertical_alignment="bottom")
    chosen = left.selectbox("Two models", list(pairs), key="pair", bind="query-params")
    first, second = (compared.entry(k) for k in (pairs[chosen].first, pairs[chosen].second))
    found = disagreements(first.predictions, second.predictions)
    say(words.disagreement_note(found, first.key, second.key))
    if not found:
        return
    with right:
        shown = _filtered(found)
    if not shown:
        st.caption("There is none of these.")
        return
    _pictures(shown, first, second)
    rows = words.disagreement_table(shown, first.key, second.key)
    with st.expander(f"As a table: {len(rows):,}"):
        table(
            [{k: parts.escape(v) for k, v in row.items()} for row in rows],
            "The test images on which the two models disagree",
        )
    st.download_button(
        "Cases (CSV)",
        _to_csv(rows).encode("utf-8-sig"),
        "kop_disagreements.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _filtered(found: Sequence[Disagreement]) -> tuple[Disagreement, ...]:
    """Draw the choice of who is right, and return the cases of which that is so."""
    kinds = {
        "All": lambda one: True,
        "First as labelled": lambda one: one.first == one.true,
        "Second as labelled": lambda one: one.second == one.true,
        "Neither": lambda one: one.true not in (one.first, one.second),
    }
    chosen = st.segmented_control("Show", list(kinds), default="All", key="right", required=True)
    return tuple(one for one in found if kinds.get(chosen, kinds["All"])(one))


def _to_csv(rows: Sequence[dict[str, str]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]))
    writer.writeheader()
    for row in rows:  # a spreadsheet must not take a file's name for a formula
        writer.writerow({k: f"'{v}" if v[:1] in ("=", "+", "-", "@") else v
                         for k, v in row.items()})  # fmt: skip
    return stream.getvalue()


# The pictures.


def _pictures(shown: Sequence[Disagreement], first: Entry, second: Entry) -> None:
    images, why = pictures.find(first.model)
    if images is None:
        pictures.ask(first.model, why, "The cases are listed without them, in the table below.")
        return
    many = st.session_state.setdefault(_shown_of(first, second), AT_ONCE)
    drawn = [(one, pictures.drawn(images, one.file)) for one in shown[:many]]
    found = [(one, picture) for one, picture in drawn if isinstance(picture, str)]
    gone = [error for _, error in drawn if not isinstance(error, str)]
    maps = _maps(first, second, [one for one, _ in found], images) if found else {}
    st.html(STYLE)
    figures = "".join(_figure(one, picture, first, second, maps) for one, picture in found)
    st.html(f'<div class="kop-apart">{figures}</div>')
    if gone:
        count = "1 picture" if len(gone) == 1 else f"{len(gone)} pictures"
        st.info(
            parts.escape(f"{count} cannot be shown. {gone[0]} The cases are in the table below."),
            icon=":material/info:",
        )
    if len(shown) > many and st.button(
        f"Show more of {len(shown):,}", icon=":material/expand_more:", key="more_apart"
    ):
        st.session_state[_shown_of(first, second)] = many + 2 * AT_ONCE
        st.rerun()
    pictures.say_where(first.model, images)


def _shown_of(first: Entry, second: Entry) -> str:
    """Return where the session keeps how many cases of a pair are shown."""
    return f"apart_shown_{first.key}_{second.key}"


Maps = dict[tuple[str, str], str | None]


def _maps(first: Entry, second: Entry, found: Sequence[Disagreement], images: SourceImages) -> Maps:
    """Draw the button that asks for maps of influence; return those that there are.

    They are kept by model and picture with those of the Train page: none is made twice.
    """
    known = influence.known()
    wanted = {}
    for entry, side in ((first, "first"), (second, "second")):
        if entry.members:
            continue
        checksum = entry.model.card["checksums"][PREDICTIONS]
        for one in found:
            called = getattr(one, side)
            wanted[side, one.file] = influence.Wanted(
                (entry.model.version, checksum, one.file, called),
                entry.model,
                one.file,
                partial(images.read, one.file),
                called,
            )
    influence.ask(
        [one for one in wanted.values() if one.key not in known],
        "Show what both looked at",
        "Grad-CAM of each model for the class that it called. TensorFlow is started for it.",
        "show_both_maps",
    )
    if wanted and all(one.key in known for one in wanted.values()):
        influence.scale()
        st.caption(
            "Grad-CAM: what each network looked at for the class that it called, not the outline "
            "of a lesion. Each map runs to its own strongest place. No map: nothing in the picture "
            "speaks for the class."
            + (" An ensemble has no map of its own." if first.members or second.members else "")
        )
    return {name: known[one.key] for name, one in wanted.items() if one.key in known}


def _figure(one: Disagreement, picture: str, first: Entry, second: Entry, maps: Maps) -> str:
    name = html.escape(one.file)
    drawn = [f'<div><img src="{picture}" alt="Radiograph {name}"><span>X-ray</span></div>']
    said = [f"Labelled <b>{one.true}</b>."]
    for entry, side in ((first, "first"), (second, "second")):
        called, score = getattr(one, side), getattr(one, f"{side}_score")
        key = html.escape(entry.key)
        mark = by_name(called).colour
        said.append(
            f'<span class="kop-swatch" style="background: {mark}"></span>{key}: <b>{called}</b>, '
            f"score {wording.percent(score)}."
        )
        if (side, one.file) in maps:
            laid = maps[side, one.file]
            seen = (
                f'<img src="{laid}" alt="What {key} looked at in {name}">'
                if laid
                else f'<img src="{picture}" alt="Radiograph {name}">'
            )
            note = key if laid else f"No map: {key}"
            drawn.append(f"<div>{seen}<span>{note}</span></div>")
    if one.copies:
        said.append(f"{one.copies} more of this radiograph alike.")
    return (
        f'<figure><div class="kop-pictures">{"".join(drawn)}</div>'
        f"<figcaption>{'<br>'.join(said)}<br>{name}</figcaption></figure>"
    )
