"""Data: how many radiographs are there really, and what else gives their classes away?"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

import streamlit as st

from dashboard import data, parts
from dashboard.data import Job
from kop_core import wording
from kop_core.classes import CLASS_NAMES
from kop_core.datasets.archives import LIMITS as UNPACKING
from kop_core.datasets.audit import browsing, words
from kop_core.datasets.audit.browsing import Group
from kop_core.errors import KopError
from kop_core.figures import audit as figures
from kop_core.figures.style import chart_config

VIEWS = {
    "overview": "Overview",
    "copies": "Copies",
    "conflicts": "Conflicts",
    "shortcuts": "Shortcuts and leakage",
    "files": "Files",
    "patients": "Patients",
}
GROUPS_A_PAGE = 6
PICTURES_A_GROUP = 6
PICTURES_A_PAGE = 60
ANY = "any"
_STYLE = """
<style>
.kop-answer {font-size: 1.9rem; line-height: 1.2; font-weight: 650; margin: 0 0 .2rem 0;}
.kop-sides {display: flex; flex-wrap: wrap; gap: .6rem 1.6rem;}
.kop-columns {flex-wrap: nowrap; overflow: auto hidden;}
.kop-columns > div {flex: var(--many) 1 0; min-width: 12.5rem;}
.kop-class {font-weight: 600; font-size: .9rem; margin: 0 0 .3rem 0;}
.kop-class::before {content: ""; display: inline-block; width: .7rem; height: .7rem;
  border-radius: 2px; background: var(--class); margin-right: .4rem;}
.kop-pictures {display: flex; flex-wrap: wrap; gap: .6rem; align-items: flex-start;}
.kop-pictures figure {margin: 0; width: var(--wide); font-size: .75rem; line-height: 1.3;}
.kop-pictures img {display: block; max-width: 100%; max-height: var(--tall); background: #000;
  border-bottom: 4px solid var(--class); margin-bottom: .2rem;}
.kop-pictures figcaption {overflow-wrap: anywhere;}
</style>
"""
_EXAMPLE = """\
my knees/
    Normal/         a.png  b.png  …
    Osteopenia/     c.png  …
    Osteoporosis/   d.png  …
    patients.csv    optional: file, age …"""
_EXAMPLE_TABLE = """\
file,class,patient
left/a.png,normal,P01
left/b.png,osteoporosis,P02"""


def main() -> None:
    """Draw the page."""
    parts.begin("pages/data.py")
    st.html(_STYLE)
    job = _current()
    if job is None:
        st.title("How many radiographs are there really?", anchor=False)
        _choose()
        _empty()
    elif job.running:
        st.title("How many radiographs are there really?", anchor=False)
        _progress(job.key)
    elif job.report is None:
        st.title("How many radiographs are there really?", anchor=False)
        _failed(job)
        _choose()
    else:
        _result(job)
    parts.not_a_device()


def _current() -> Job | None:
    """Return the audit of this session or of the address."""
    job: Job | None = st.session_state.get("data_job")
    asked = st.query_params.get("audit")
    if asked and (job is None or job.key != asked):
        found = data.find(asked)
        if found is None and job is None:
            st.info(
                "The server no longer keeps the audit of this address. Choose the data set again: "
                "what was read once is not read again.",
                icon=":material/info:",
            )
            del st.query_params["audit"]
        job = found or job
    if job is not None:
        st.session_state["data_job"] = job
        st.query_params["audit"] = job.key
    return job


# Choosing.


def _choose() -> None:
    """Draw the ways to name a data set."""
    folder, archive = st.columns(2, gap="large")
    with folder, st.form("data_folder", border=False):
        typed = st.text_input(
            "Folder of class folders, or CSV table, on the machine that runs KOP",
            placeholder="/home/me/knees",
            key="data_path",
            persist_state="page",
        )
        asked = st.form_submit_button("Audit the folder", type="primary", icon=":material/search:")
    with folder:
        recent = _recent()
    with archive:
        dropped = st.file_uploader(
            "Or a zip archive of such a folder",
            type=["zip"],
            key="data_zip",
            help=f"Up to {st.get_option('server.maxUploadSize')} MB packed and "
            f"{UNPACKING.max_bytes / 2**30:.0f} GB unpacked. It goes to the machine that runs KOP "
            "and no further, and is removed there when you close the page or audit something else.",
        )
        asked_zip = dropped is not None and st.button(
            "Audit the archive", type="primary", icon=":material/search:"
        )
    any_class = st.toggle(
        "Count folders of any name as classes",
        key="data_any_class",
        persist_state="page",
        help="For collections with other classes, such as Kellgren–Lawrence grades.",
    )
    if asked and not typed.strip():
        st.warning("Type the path of a folder first.", icon=":material/warning:")
    elif asked or recent:
        _start(recent or typed, any_class)
    elif asked_zip:
        _begin(data.start(dropped, dropped.name, any_class))


def _recent() -> str | None:
    """Draw the folders that were audited before in this session; return the one chosen."""
    known: list[str] = st.session_state.get("data_recent", [])
    if not known:
        return None
    st.caption("Audited before")
    for place, path in enumerate(known):
        if st.button(parts.escape(path), key=f"data_recent_{place}", type="tertiary"):
            return path
    return None


def _start(path: str, any_class: bool) -> None:
    try:
        job = data.start(data.folder_from(path), path.strip(), any_class)
    except KopError as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
        return
    known: list[str] = st.session_state.setdefault("data_recent", [])
    st.session_state["data_recent"] = [path, *(p for p in known if p != path)][:5]
    _begin(job)


def _begin(job: Job) -> None:
    st.session_state["data_job"] = job
    for key in ("group", "view"):
        st.query_params.pop(key, None)
    st.query_params["audit"] = job.key
    st.rerun()


def _empty() -> None:
    with st.container(border=True):
        st.markdown(
            "The audit looks for files that show **the same radiograph**: copies, pictures saved "
            "anew, crops, mirrored ones. It names radiographs that are filed under two classes, "
            "and measures how far a classifier gets that never looks at bone."
        )
        folder, table = st.columns(2, gap="large")
        with folder:
            st.caption("A folder looks like this:")
            st.code(_EXAMPLE, language=None)
        with table:
            st.caption("A table looks like this; its paths start where it lies:")
            st.code(_EXAMPLE_TABLE, language=None)


@st.fragment(run_every=0.8)
def _progress(key: str) -> None:
    """Draw how far the audit is; the page is drawn anew when it ends."""
    job = data.find(key)
    if job is None or not job.running:
        st.rerun()
        return
    st.markdown(f"**{parts.escape(job.title)}**")
    st.progress(job.share(), text=parts.escape(job.how_far()))
    st.button(
        "Stop",
        icon=":material/stop_circle:",
        on_click=data.cancel,
        args=(key,),
        disabled=job.cancelled,
    )
    st.caption(
        "The audit goes on while you look at other pages. This page's address leads back to it."
    )


def _failed(job: Job) -> None:
    show = st.info if job.cancelled else st.error
    icon = ":material/info:" if job.cancelled else ":material/error:"
    error = job.error or ""
    if job.title not in error:
        error = f"{job.title}: {error}"
    show(parts.escape(error), icon=icon)
    _left_out(job)


# What came out.


def _result(job: Job) -> None:
    report = job.report
    head, do = st.columns([2.4, 1], vertical_alignment="bottom")
    with head:
        st.title(f"Data audit: {parts.escape(report.name)}", anchor=False)
        st.html(f'<p class="kop-answer">{html.escape(words.headline(report))}</p>')
    with do, st.container(horizontal=True, horizontal_alignment="right"):
        with st.popover("Download", icon=":material/download:"):
            _downloads(job)
        if st.button("Audit another", icon=":material/folder_open:"):
            _leave()
    if job.data.notes:
        st.warning(parts.escape(" ".join(job.data.notes)), icon=":material/warning:")
    if not report.files:
        _unread(job)
        return
    groups = browsing.all_groups(report)
    asked = st.query_params.get("group")
    if asked is not None:
        chosen = next((g for g in groups if g.radiograph == asked), None)
        if chosen is not None:
            _one_group(job, chosen, groups)
            return
        st.warning(
            f"No radiograph with copies is called {parts.escape(asked)} here.",
            icon=":material/warning:",
        )
        del st.query_params["group"]
    view = _view(job)
    {
        "overview": _overview,
        "copies": _copies,
        "conflicts": _conflicts,
        "shortcuts": _shortcuts,
        "files": _files,
        "patients": _patients,
    }[view](job, groups)


def _leave() -> None:
    st.session_state.pop("data_job", None)
    st.query_params.clear()
    st.rerun()


def _view(job: Job) -> str:
    """Draw the choice of a view, kept in the address, and return it."""
    views = [v for v in VIEWS if v != "patients" or job.report.patients]
    asked = st.query_params.get("view")
    if st.session_state.get("data_view") not in views:
        st.session_state["data_view"] = asked if asked in views else "overview"
    view = st.segmented_control(
        "View",
        views,
        format_func=VIEWS.__getitem__,
        key="data_view",
        required=True,
        label_visibility="collapsed",
    )
    st.query_params["view"] = view
    return view


def _overview(job: Job, groups: Sequence[Group]) -> None:
    report = job.report
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Files and radiographs of each class**")
        _chart(
            figures.counts(report.counts_by_file(), report.counts_by_radiograph()),
            "counts",
            "Files and radiographs of each class",
        )
    with right:
        st.markdown("**How many files show one radiograph**")
        _chart(
            figures.group_sizes(browsing.sizes(report)),
            "group_sizes",
            "How many radiographs are shown by one file, by two and so on",
        )
    conflicts = browsing.choose(groups, conflicted=True)
    first, second, third = st.columns(3, gap="medium")
    with first:
        plain = [g for g in groups if not g.conflicted] or groups
        _tile(job, "Copies", plain[:1], words.copies(report), "copies")
    with second:
        _tile(job, "Conflicts", conflicts[:1], words.conflicts(report), "conflicts")
    with third, st.container(border=True, height="stretch"):
        st.markdown("**Shortcuts and leakage**")
        if any(k.test_files for k in report.leakage):
            random = [k for k in report.leakage if k.protocol == "random"]
            st.caption("Test files with a copy in training, random split")
            _chart(figures.leakage(random), "tile", words.leakage(report))
        st.markdown(parts.escape(wording.unbroken(words.leakage(report))))
        _go("shortcuts")
    _unread(job)


def _tile(job: Job, title: str, shown: Sequence[Group], said: str, view: str) -> None:
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{title}**")
        for group in shown:
            _pictures(job, group, group.shown(3), "5.4rem", "8rem", "small")
        st.markdown(parts.escape(said))
        if shown:
            _go(view)


def _go(view: str) -> None:
    def turn() -> None:
        st.session_state["data_view"] = view

    st.button(
        f"Look at {VIEWS[view].lower()}", key=f"data_go_{view}", type="tertiary", on_click=turn,
        icon=":material/arrow_forward:",
    )  # fmt: skip


def _copies(job: Job, groups: Sequence[Group]) -> None:
    st.markdown(parts.escape(words.copies(job.report)))
    if not groups:
        return
    strength, true = _filters(groups)
    st.caption(words.STRENGTH_HELP)
    _browse(job, browsing.choose(groups, strength, true), "copies")


def _filters(groups: Sequence[Group]) -> tuple[str | None, str | None]:
    present = [s for s in words.STRENGTHS if any(s in g.strengths for g in groups)]
    classes = browsing.in_order({n for g in groups for n in g.classes})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        strength = st.segmented_control(
            "Found as",
            [ANY, *present],
            format_func=lambda s: "Any" if s == ANY else words.STRENGTHS[s],
            default=ANY,
            required=True,
            key="data_strength",
        )
        true = st.selectbox(
            "Filed under",
            [ANY, *classes],
            format_func=lambda n: "Any class" if n == ANY else figures.class_label(n),
            key="data_class",
            width=180,
        )
    return None if strength == ANY else strength, None if true == ANY else true


def _conflicts(job: Job, groups: Sequence[Group]) -> None:
    st.markdown(parts.escape(words.conflicts(job.report)))
    _browse(job, browsing.choose(groups, conflicted=True), "conflicts")


def _browse(job: Job, groups: Sequence[Group], key: str) -> None:
    """Draw groups as pictures, some a page."""
    pages = max(1, -(-len(groups) // GROUPS_A_PAGE))
    page = 1
    if pages > 1:
        # Other filters, other pages: a page that is no more falls back to the first.
        page = st.pagination(pages, key=f"data_page_{key}_{pages}")
    elif not groups:
        st.caption("No radiograph is like that.")
    for group in groups[(page - 1) * GROUPS_A_PAGE : page * GROUPS_A_PAGE]:
        with st.container(border=True):
            said, go = st.columns([5, 1], vertical_alignment="center")
            said.markdown(_headed(group))
            with go, st.container(horizontal=True, horizontal_alignment="right"):
                st.button(
                    f"See all {len(group.files):,}",
                    key=f"data_open_{key}_{group.radiograph}",
                    on_click=_open,
                    args=(group.radiograph,),
                    help=f"All files of {group.radiograph}",
                )
            shown = group.shown(PICTURES_A_GROUP)
            _pictures(job, group, shown, "8.6rem", "10rem")
            if len(group.files) > len(shown):
                st.caption(f"And {len(group.files) - len(shown):,} more.")


def _headed(group: Group) -> str:
    return f"**{parts.escape(group.radiograph)}**  \n{parts.escape(words.group(group))}"


def _open(radiograph: str) -> None:
    st.query_params["group"] = radiograph


def _close() -> None:
    st.query_params.pop("group", None)


def _one_group(job: Job, group: Group, groups: Sequence[Group]) -> None:
    """Draw all files of one radiograph."""
    view = st.session_state.get("data_view") or st.query_params.get("view")
    if view == "conflicts" and group.conflicted:
        groups = browsing.choose(groups, conflicted=True)
    place = groups.index(group)
    with st.container(horizontal=True):
        st.button("Back to all", icon=":material/arrow_back:", on_click=_close)
        for label, other in (("Previous", place - 1), ("Next", place + 1)):
            there = 0 <= other < len(groups)
            st.button(
                label,
                on_click=_open,
                args=(groups[other].radiograph if there else "",),
                disabled=not there,
            )
    st.session_state["data_view"] = view if view in VIEWS else "copies"
    st.markdown(_headed(group))
    if group.patients:
        st.markdown(parts.escape(words.patients(group)))
    pages = -(-len(group.files) // PICTURES_A_PAGE)
    page = st.pagination(pages, key=f"data_files_{group.radiograph}") if pages > 1 else 1
    shown = group.files[(page - 1) * PICTURES_A_PAGE : page * PICTURES_A_PAGE]
    _pictures(job, group, shown, "12.5rem", "18rem", "columns")


def _pictures(
    job: Job, group: Group, files: Sequence, wide: str, tall: str, kind: str = ""
) -> None:
    """Draw files of a radiograph, those of one class together.

    Args:
        job: the audit.
        group: the radiograph.
        files: those of its files that are drawn.
        wide: width of a picture.
        tall: height of a picture at most.
        kind: ``"small"`` leaves out the names of the files, ``"columns"`` keeps the
            classes side by side however many files there are.
    """
    sides = []
    others = [n for n in job.report.counts_by_file() if n not in CLASS_NAMES]
    for name in group.classes:
        some = [f for f in files if f.true == name]
        if not some:
            continue
        drawn = "".join(_picture(job, f, kind != "small") for f in some)
        sides.append(
            f'<div style="--class: {figures.class_colour(name, others)}; --many: {len(some)}">'
            f'<p class="kop-class">{html.escape(figures.class_label(name))}</p>'
            f'<div class="kop-pictures" style="--wide: {wide}; --tall: {tall}">{drawn}</div></div>'
        )
    st.html(f'<div class="kop-sides kop-{kind}">{"".join(sides)}</div>')


def _picture(job: Job, file, named: bool) -> str:
    name = html.escape(file.file)
    caption = f"<figcaption>{name}<br>{html.escape(words.facts(file))}</figcaption>"
    source = job.thumbnail(file.file, 320)
    if source is None:
        return f"<figure>The file can no longer be read.{caption}</figure>"
    picture = f'<img src="{source}" alt="Radiograph {name}">'
    return f"<figure>{picture}{caption if named else ''}</figure>"


def _shortcuts(job: Job, groups: Sequence[Group]) -> None:
    report = job.report
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**What gets classes right without looking at bone**")
        if report.shortcuts:
            said = " ".join(words.shortcut(s) for s in report.shortcuts)
            _chart(figures.shortcuts(report.shortcuts), "shortcuts", said)
        else:
            st.caption("Not measured: there is too little to tell apart.")
        for shortcut in report.shortcuts:
            st.markdown(f"- {parts.escape(wording.unbroken(words.shortcut(shortcut)))}")
    with right:
        st.markdown("**Test files with a copy in training**")
        if any(k.test_files for k in report.leakage):
            _chart(figures.leakage(report.leakage), "leakage", words.leakage(report))
        st.markdown(parts.escape(wording.unbroken(words.leakage(report))))
    with st.expander("The figures as tables"):
        if report.shortcuts:
            st.dataframe(
                words.shortcut_table(report),
                hide_index=True,
                alt="What gets classes right without looking at bone, with 95 % intervals",
            )
        if report.leakage:
            st.dataframe(
                words.leakage_table(report),
                hide_index=True,
                alt="Test files with a copy in training, by protocol",
            )


def _files(job: Job, groups: Sequence[Group]) -> None:
    report = job.report
    _unread(job)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Size of the pictures**")
        _chart(figures.picture_sizes(report.files), "sizes", "Width against height by class")
    with right:
        for title, attribute in (("Contrast", "contrast"), ("Brightness", "brightness")):
            st.markdown(f"**{title}**")
            figure = figures.spread_by_class(report.files, attribute, title)
            _chart(figure, attribute, f"{title} by class: quartiles and range")
    st.caption(words.CONTRAST_HELP)


def _unread(job: Job) -> None:
    """Name what was not audited, and why."""
    for sentence, pairs, show in (
        (words.unreadable(job.report), job.report.unreadable, True),
        (words.passed_over(job.report), job.report.passed_over, False),
    ):
        if sentence:
            with st.expander(sentence, expanded=show and len(pairs) <= 8,
                             icon=":material/warning:" if show else None):  # fmt: skip
                _list(pairs)
    _left_out(job)


def _left_out(job: Job) -> None:
    if job.left_out:
        count = f"{len(job.left_out):,} members" if len(job.left_out) > 1 else "1 member"
        with st.expander(f"{count} of the archive not unpacked."):
            _list(job.left_out)


def _list(pairs: Sequence[tuple[str, str]]) -> None:
    st.dataframe(
        [{"File": file, "Why": reason[:1].upper() + reason[1:]} for file, reason in pairs],
        hide_index=True,
        height=min(36 * len(pairs) + 38, 320),
        alt="Files and the reason for each",
    )


def _patients(job: Job, groups: Sequence[Group]) -> None:
    found = job.report.patients
    st.markdown(parts.escape(words.patient_variables(job.report)))
    drawn = [
        (wording.variable(title), figure)
        for title, variable in found["variables"].items()
        if (figure := figures.patient_variable(title, variable, found["counted"])) is not None
    ]
    for place, (title, figure) in enumerate(drawn):
        if place % 2 == 0:
            columns = st.columns(2, gap="large")  # a row of their own: of different heights
        with columns[place % 2]:
            st.markdown(f"**{parts.escape(title)}**")
            _chart(figure, f"patient_{place}", f"{title} by class")


def _chart(figure, name: str, alt: str) -> None:
    st.plotly_chart(figure, config=chart_config(f"kop_{name}"), key=f"data_chart_{name}", alt=alt)


def _downloads(job: Job) -> None:
    """Draw what can be taken away."""
    report, found = job.report, job.data
    st.download_button(
        "Report with pictures (HTML)",
        lambda: _html_report(job),
        "kop_audit.html",
        "text/html",
        icon=":material/description:",
        on_click="ignore",
        help="One file that opens anywhere. It holds small copies of some pictures, names of "
        "files and numbers of patients: send it only to those who may see them.",
    )
    st.download_button(
        "Report (JSON)",
        lambda: json.dumps(report.get_config(), indent=2, ensure_ascii=False),
        "kop_audit.json",
        "application/json",
        icon=":material/data_object:",
        on_click="ignore",
    )
    st.download_button(
        "Groups (CSV)",
        lambda: browsing.groups_csv(report).encode(),
        "groups.csv",
        "text/csv",
        icon=":material/table:",
        on_click="ignore",
        help="Which radiograph each file shows. Put it beside the class folders as radiographs.csv "
        "and KOP keeps the files of one radiograph together.",
    )
    st.divider()
    if {i.true for i in found.items} - set(CLASS_NAMES):
        st.caption(f"A split is made for the classes {', '.join(CLASS_NAMES)} only.")
        return
    left, right = st.columns(2)
    share = left.number_input("Test part, %", 5, 50, 20, 5, key="data_share")
    seed = right.number_input("Seed", 0, 10_000, 1, key="data_seed")
    conflicts = st.selectbox(
        "Conflicted radiographs",
        ["keep", "drop", "test"],
        format_func={
            "keep": "Keep", "drop": "Leave out", "test": "In the test part only"
        }.__getitem__,
        key="data_conflicts",
    )  # fmt: skip
    try:
        split = job.split_csv(share / 100, seed, conflicts)
    except KopError as error:
        st.caption(f":material/warning: {parts.escape(str(error))}")
        return
    st.download_button(
        "Split by radiograph (CSV)",
        split.encode(),
        "split.csv",
        "text/csv",
        icon=":material/call_split:",
        on_click="ignore",
        help="Files of one radiograph are on one side.",
    )


def _html_report(job: Job) -> bytes:
    from kop_core.datasets.audit import html as audit_html

    return audit_html.to_html(job.report, job.data).encode()


main()
