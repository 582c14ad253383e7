"""Setting up a run: a form that reads like a protocol, an estimate, and the button.

What is said of the data and the settings is computed in
:mod:`kop_core.training.setting_up`; here it is drawn.
"""

from __future__ import annotations

import html
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from dashboard import data, parts, training_setup_preview, training_setup_time
from dashboard import training_setup_form as form
from dashboard.data import Job
from kop_core import marks, model_store, networks, wording
from kop_core.classes import CLASSES
from kop_core.datasets.archives import LIMITS as UNPACKING
from kop_core.datasets.audit import words
from kop_core.errors import KopError
from kop_core.training import estimating, kept_data, runs, setting_up
from kop_core.training.config import TrainingConfig
from kop_core.training.estimating import Estimate
from kop_core.training.setting_up import Parts

if TYPE_CHECKING:
    from kop_core.datasets import DataSet

_JOB = "setup_job"
_NOTE = "setup_note"
# A second click within so many seconds is the same click.
_ONE_CLICK = 6.0
_STYLE = """
<style>
.kop-count {border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums;
  margin: .2rem 0 .4rem 0;}
.kop-count th, .kop-count td {padding: .18rem .9rem .18rem 0; text-align: right;
  border-bottom: 1px solid rgba(128,128,128,.25); white-space: nowrap; font-weight: 400;}
.kop-count thead th {opacity: .85; white-space: normal; vertical-align: bottom;}
.kop-count th:first-child {text-align: left;}
.kop-count .kop-swatch {margin-right: .35rem;}
.kop-said {font-size: 1.15rem; font-weight: 600; margin: 0;}
</style>
"""
_EXAMPLE = """\
my knees/
    Normal/         a.png  b.png  …
    Osteopenia/     c.png  …
    Osteoporosis/   d.png  …
    patients.csv    optional: file, age …"""


def draw(prefill: TrainingConfig | None = None, data_folder: Path | None = None) -> None:
    """Draw the form; when a run was started, its id is in the address as ``run``.

    Args:
        prefill: settings to begin with, such as an earlier run's. They are filled in once;
            the address then no longer asks for them.
        data_folder: data to begin with.
    """
    st.html(_STYLE)
    if prefill is not None or data_folder is not None:
        _prefill(prefill, data_folder)
    form.fill_once()
    job = _current()
    with _section(1, "Data", "What is learned from and measured on."):
        _data(job)
    if job is None or job.running or job.report is None:
        return
    faults = setting_up.faults_of_data(job.data, job.report)
    if faults:
        for fault in faults:
            st.error(parts.escape(fault), icon=":material/error:")
        _button(None, faults[0], ())
        return
    _protocol(job)


@contextmanager
def _section(number: int, title: str, said: str) -> Iterator[None]:
    """Draw the frame of a step of the protocol."""
    with st.container(border=True):
        head, body = st.columns([1, 4.6], gap="medium")
        with head:
            st.subheader(f"{number}  {title}", anchor=False)
            st.caption(said)
        with body:
            yield


def _prefill(config: TrainingConfig | None, data_folder: Path | None) -> None:
    """Fill in the settings and begin with the data of an earlier run."""
    if config is not None and config.network in networks.names():
        form.fill(config)
        st.session_state[_NOTE] = "The settings of an earlier run were filled in."
    if data_folder is not None:
        job = st.session_state.get(_JOB)
        if job is None or job.data is None or job.data.source != data_folder:
            _leave()
            try:
                _begin(data.start(Path(data_folder), str(data_folder)))
            except KopError as error:
                st.warning(parts.escape(str(error)), icon=":material/warning:")
    if "again" in st.query_params:
        del st.query_params["again"]
        st.query_params["new"] = "1"


# 1 Data.


def _current() -> Job | None:
    """Return the data set of this session or of the address."""
    job: Job | None = st.session_state.get(_JOB)
    asked = st.query_params.get("audit")
    if asked and (job is None or job.key != asked):
        found = data.find(asked)
        job = found if found is not None and not found.any_class else job
    if job is not None:
        st.session_state[_JOB] = job
        st.query_params["audit"] = job.key
    else:
        st.query_params.pop("audit", None)
    return job


def _data(job: Job | None) -> None:
    if job is None:
        _choose()
    elif job.running:
        _progress(job.key)
    elif job.report is None:
        show = st.info if job.cancelled else st.error
        show(parts.escape(job.error or ""), icon=":material/info:" if job.cancelled else
             ":material/error:")  # fmt: skip
        _choose()
    else:
        _chosen(job)


def _choose() -> None:
    """Draw the ways to name a data set."""
    folder, archive = st.columns(2, gap="large")
    with folder:
        with st.form("setup_folder", border=False):
            typed = st.text_input(
                "Folder of class folders, or CSV table, on the machine that runs KOP",
                placeholder="/home/me/knees",
                key="setup_path",
                persist_state="session",
            )
            asked = st.form_submit_button(
                "Look at the data", type="primary", icon=":material/search:"
            )
        recent = _recent()
    with archive:
        dropped = st.file_uploader(
            "Or a zip archive of such a folder",
            type=["zip"],
            key="setup_zip",
            help=f"Up to {st.get_option('server.maxUploadSize')} MB packed and "
            f"{UNPACKING.max_bytes / 2**30:.0f} GB unpacked. It goes to the machine that runs KOP "
            "and no further.",
        )
        st.caption(
            f"What is unpacked stays in {parts.escape(str(kept_data.folder()))}, because runs "
            "train from it, and goes when the last run that needs it is deleted."
        )
        asked_zip = dropped is not None and st.button(
            "Look at the archive", type="primary", icon=":material/search:"
        )
    if asked and not typed.strip():
        st.warning("Type the path of a folder first.", icon=":material/warning:")
    elif asked or recent:
        _start(recent or typed)
    elif asked_zip:
        _begin(data.start(dropped, dropped.name, keep=kept_data.keep))
        st.rerun()
    else:
        with st.expander("How a folder should look"):
            st.code(_EXAMPLE, language=None)


def _recent() -> str | None:
    """Draw the data sets that this session has looked at; return the path chosen now."""
    audited: Job | None = st.session_state.get("data_job")
    if audited is not None and audited.report and not audited.any_class and not audited.temporary:
        label = f"Use {parts.escape(audited.title)}, audited on the Data page"
        if st.button(label, type="tertiary", icon=":material/dataset:"):
            _begin(audited)
            st.rerun()
    known: list[str] = st.session_state.get("data_recent", [])
    shown = [path for path in known if audited is None or path.strip() != audited.title]
    for place, path in enumerate(shown[:3]):
        if st.button(parts.escape(path), key=f"setup_recent_{place}", type="tertiary",
                     icon=":material/history:"):  # fmt: skip
            return path
    return None


def _start(path: str) -> None:
    try:
        job = data.start(data.folder_from(path), path.strip())
    except KopError as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
        return
    known: list[str] = st.session_state.setdefault("data_recent", [])
    st.session_state["data_recent"] = [path, *(p for p in known if p != path)][:5]
    _begin(job)
    st.rerun()


def _begin(job: Job) -> None:
    st.session_state[_JOB] = job
    st.query_params["audit"] = job.key


def _leave() -> None:
    st.session_state.pop(_JOB, None)
    st.query_params.pop("audit", None)


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
        "KOP looks for files that show the same radiograph: without that no split could keep them "
        "together. What was looked at once is quick the next time."
    )


def _chosen(job: Job) -> None:
    """Draw what there is to train on, and what the audit says of it."""
    report = job.report
    left, right = st.columns([1.25, 1], gap="large")
    with left:
        st.html(f'<p class="kop-said">{html.escape(_headline(job))}</p>')
        st.markdown(parts.escape(f"{words.copies(report)} {words.conflicts(report)}"))
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                "pages/data.py",
                label="The whole audit",
                icon=":material/dataset:",
                query_params={"audit": job.key},
            )
            st.button("Other data", icon=":material/folder_open:", on_click=_leave, type="tertiary")
    with right:
        by_file, by_radiograph = report.counts_by_file(), report.counts_by_radiograph()
        rows = [
            (_class_head(c.label, c.colour), [by_file[c.name], by_radiograph[c.name]])
            for c in CLASSES
        ]
        rows.append(("All", [len(report.files), len(report.groups())]))
        _table(("Class", "Files", "Radiographs"), rows)
        if sum(by_radiograph.values()) > len(report.groups()):
            st.caption(
                "A conflicted radiograph is counted in each of its classes, and once in all."
            )
    _unread(job)


def _headline(job: Job) -> str:
    return f"{job.report.name}: {words.headline(job.report)}"


def _unread(job: Job) -> None:
    """Name what cannot be trained on, and why."""
    report = job.report
    for sentence, pairs in (
        (words.unreadable(report), report.unreadable),
        (words.passed_over(report), report.passed_over),
        (_not_unpacked(job), job.left_out),
    ):
        if sentence:
            with st.expander(sentence, icon=":material/warning:"):
                st.dataframe(
                    [{"File": f, "Why": r[:1].upper() + r[1:]} for f, r in pairs],
                    hide_index=True,
                    height=min(36 * len(pairs) + 38, 240),
                    alt="Files and the reason for each",
                )


def _not_unpacked(job: Job) -> str:
    count = len(job.left_out)
    if not count:
        return ""
    return (
        f"{count:,} members of the archive were not unpacked."
        if count > 1
        else ("1 member of the archive was not unpacked.")
    )


def _class_head(label: str, colour: str) -> str:
    swatch = f'<span class="kop-swatch" style="background: {colour}"></span>'
    return f"{swatch}{html.escape(label)}"


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]]) -> None:
    """Draw a small table of counts; the first cell of a row is HTML already."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{n:,}</td>" for n in cells)}</tr>'
        for first, cells in rows
    )
    st.html(f'<table class="kop-count"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>')


# 2 to 5.


def _protocol(job: Job) -> None:
    """Draw the rest of the form, for data that can be trained on."""
    known = _known(job)
    _presets()
    with _section(2, "Split", "Which files train, and which measure."):
        split_place, leave_out = _split(job, known)
    with _section(3, "Network", "What learns, and how large its pictures are."):
        form.network()
        form.beginning()
        network_place = st.empty()
    with _section(4, "How it learns", "The steps it takes, and how its pictures are varied."):
        form.learning()
        form.augmentation()
        preview_place = st.container()
        with st.expander("More settings"):
            form.more()
    with _section(5, "How long", "Epochs, and what they take on this machine."):
        form.duration()
        end_place = st.container()
    config, fault = _read()
    divided = None
    if config is not None:
        config = replace(config, leave_out=leave_out)
        divided, fault = _divided(job, known, config)
    with split_place:
        if divided is not None:
            _said_of_split(job, config, divided)
        elif fault:
            st.error(parts.escape(fault), icon=":material/error:")
    with network_place:
        _said_of_network(config)
    if config is not None and divided is not None:
        with preview_place:
            training_setup_preview.draw(
                job.key, known, divided.training.items, config.preparation, config.augmentation,
                config.seed,
            )  # fmt: skip
    with end_place:
        _end(job, known, config, divided, fault)


def _presets() -> None:
    """Draw the settings that come ready made."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "KOP's recommendation",
            icon=":material/recommend:",
            on_click=_fill,
            args=("recommended",),
            help="By radiograph, with a validation part that chooses the epoch, and classes that "
            "count the same. Optimiser, learning rate and schedule as found for the paper's "
            "network, after a warm-up of one epoch; stronger augmentation and dropout, batches of "
            "16, early stopping. Not compared with other settings.",
        )
        st.button(
            "The paper's settings",
            icon=":material/article:",
            on_click=_fill,
            args=("paper",),
            help="Those of Ali, Ibrahim and Altamer (2025): 30 epochs, a random split, 20 % test "
            "part that is also watched. What the paper does not state was found by trying.",
        )
        config, _ = _read()
        preset = config and setting_up.preset_of(config)
        said = {
            "recommended": "These are KOP's recommendation. Alter what you like.",
            "paper": "These are the paper's settings. Its random split flatters the accuracy; see "
            "below.",
        }.get(preset or "", "These are settings of your own.")
        note = st.session_state.get(_NOTE)
        st.caption(f"{note} {said}" if note else said)


def _fill(preset: str) -> None:
    st.session_state.pop(_NOTE, None)
    form.fill(setting_up.RECOMMENDED if preset == "recommended" else setting_up.paper_settings())


def _read() -> tuple[TrainingConfig | None, str | None]:
    """Return the settings, or what is wrong with them."""
    try:
        return form.read(), None
    except KopError as error:
        return None, str(error)


def _known(job: Job) -> DataSet:
    """Return the data set as a run will see it: of each file which radiograph it shows."""
    kept = st.session_state.get("setup_known")
    if kept is None or kept[0] != job.key:
        from kop_core.datasets import with_radiographs

        kept = (job.key, with_radiographs(job.data))
        st.session_state["setup_known"] = kept
    return kept[1]


def _divided(job: Job, known: DataSet, config: TrainingConfig) -> tuple[Parts | None, str | None]:
    """Return the parts that these settings make, or why they cannot be made; kept."""
    asked = (
        job.key, config.split, config.test_share, config.validation_share, config.seed,
        config.conflicts, config.fold, config.folds, tuple(config.leave_out.items()),
    )  # fmt: skip
    kept = st.session_state.get("setup_parts")
    if kept is None or kept[0] != asked:
        unreadable = [file for file, _ in job.report.unreadable]
        try:
            kept = (asked, setting_up.divide(known, config, unreadable), None)
        except KopError as error:
            kept = (asked, None, str(error))
        st.session_state["setup_parts"] = kept
    return kept[1], kept[2]


def _split(job: Job, known: DataSet) -> tuple[st.delta_generator.DeltaGenerator, dict[str, str]]:
    """Draw how the data is divided; return where the result goes, and what is left out."""
    form.split(all(item.patient for item in known.items), bool(job.report.conflicted()))
    leave_out = form.marked(_marked(job))
    place = st.container()
    with st.expander("Cross-validation"):
        form.folds()
    return place, leave_out


def _marked(job: Job) -> dict[str, str]:
    """Return what a reader marked of the data; that marks cannot be read stops no run."""
    try:
        return marks.of_data(job.data)
    except KopError as error:
        st.caption(parts.escape(str(error)))
        return {}


def _said_of_split(job: Job, config: TrainingConfig, divided: Parts) -> None:
    """Draw the counts that result, and what they mean for the figure at the end."""
    head = ("Part", "Files", "Radiographs", *(_class_head(c.label, c.colour) for c in CLASSES))
    _table(
        head,
        [
            (part.name, [part.files, part.radiographs, *(part.classes[c.name] for c in CLASSES)])
            for part in divided.shown
        ],
    )
    if config.split == "random":
        share = setting_up.copies_in_training(divided, job.report)
        st.warning(parts.escape(setting_up.random_warning(share)), icon=":material/warning:")
    if config.validation_share:
        st.caption(
            "The validation part is set aside from the training part by the same rule. The "
            "network never learns from it; it shows after which epoch to stop."
        )
    for remark in setting_up.remarks(config, divided):
        st.caption(parts.escape(remark))


def _said_of_network(config: TrainingConfig | None) -> None:
    network = networks.get(st.session_state[form.key("network")])
    said = f"{network.reference}."
    if network.reference_parameters:
        said += (
            f" Published with {network.reference_parameters:,} parameters for "
            f"{network.reference_classes:,} classes."
        )
    measured = config and estimating.kept(config)
    if measured:
        said += f" As it is set up here: {measured.parameters:,} parameters."
        too_large = model_store.too_large(measured.parameters)
        said += f" {too_large}" if too_large else ""
    st.caption(parts.escape(said))


def _end(
    job: Job,
    known: DataSet,
    config: TrainingConfig | None,
    divided: Parts | None,
    fault: str | None,
) -> None:
    """Draw the estimate, what stands against the run, and the button."""
    alive = [run for run in runs.list_runs() if run.alive]
    faults = [fault] if fault else []
    if config is not None and divided is not None:
        faults += setting_up.faults_of_settings(config, divided)
    st.divider()
    if config is not None and divided is not None and not faults:
        _estimate(job, known, config, divided, busy=any(r.state == runs.RUNNING for r in alive))
    for sentence in faults:
        st.error(parts.escape(sentence), icon=":material/error:")
    st.text_input(
        "Name of the run",
        placeholder=_title(job, config),
        key="setup_title",
        persist_state="session",
        max_chars=200,
        help="For you and your colleagues; it stands in the list of runs.",
    )
    _button((job, config) if config is not None and not faults else None,
            faults[0] if faults else None, alive)  # fmt: skip


def _title(job: Job, config: TrainingConfig | None) -> str:
    if config is None:
        return job.report.name
    split = {"random": "random split"}.get(config.split, f"by {config.split}")
    return f"{job.report.name}, {split}, {networks.get(config.network).title}"


# The estimate.


def _estimate(job: Job, known: DataSet, config: TrainingConfig, divided: Parts, busy: bool) -> None:
    """Draw how long the run will take; measure it if nobody has."""
    before: TrainingConfig | None = st.session_state.get("setup_measured")
    measuring = training_setup_time.known(config, busy)
    measured = (measuring and measuring.found) or estimating.kept(config)
    if measured is not None and measured.busy and not busy:
        measured = None
    if measured is not None:
        found = estimating.estimate(config, _facts(job, known, config, divided), measured)
        _say(found)
        return
    if measuring is None and busy:
        st.markdown("How long it takes was not measured yet.")
        st.caption(
            "Another run is training. Measuring now would slow it for about a minute, and come "
            "out too long."
        )
        if st.button("Measure all the same", icon=":material/timer:"):
            training_setup_time.ask(config, busy)
            st.rerun()
        return
    if measuring is not None and measuring.error:
        st.warning(parts.escape(measuring.error), icon=":material/warning:")
        if st.button("Measure again", icon=":material/timer:"):
            training_setup_time.forget(config)
            st.rerun()
        return
    if before is not None and estimating.key(before) != estimating.key(config):
        stale = training_setup_time.known(before, True)
        if stale is not None and stale.running:
            stale.stop()
    st.session_state["setup_measured"] = config
    training_setup_time.ask(config, busy)
    _measuring(config, busy)


@st.fragment(run_every=1.0)
def _measuring(config: TrainingConfig, busy: bool) -> None:
    """Say that it is being measured; the page is drawn anew when it is."""
    measuring = training_setup_time.known(config, busy)
    if measuring is None or not measuring.running:
        st.rerun()
        return
    took = time.monotonic() - measuring.began
    st.progress(
        min(0.95, took / 60),
        text="Training a few steps on this machine to see how long they take: about a minute. You "
        "may start without waiting.",
    )


def _facts(
    job: Job, known: DataSet, config: TrainingConfig, divided: Parts
) -> estimating.DataFacts:
    kept = st.session_state.get("setup_reading")
    asked = (job.key, config.preparation.name)
    if kept is None or kept[0] != asked:
        kept = (asked, estimating.reading_seconds(known, config))
        st.session_state["setup_reading"] = kept
    return setting_up.facts(divided, config, kept[1])


def _say(found: Estimate) -> None:
    """Draw an estimate in words."""
    st.html(f'<p class="kop-said">{html.escape(found.sentence())}</p>')
    machine = estimating.machine_memory()
    said = [found.memory(machine)]
    if found.stops_early:
        said.append("It may stop earlier, when the validation loss falls no more.")
    if found.busy:
        said.append("It was measured while another run trained: alone it will be quicker.")
    st.caption(parts.escape(" ".join(said)))
    if machine and found.memory_bytes > 0.9 * machine:
        st.warning(
            "That is more memory than this machine can spare. Choose a smaller batch or input.",
            icon=":material/warning:",
        )


# The button.


def _button(
    ready: tuple[Job, TrainingConfig] | None, reason: str | None, alive: Sequence[runs.Run]
) -> None:
    """Draw the button that starts the run, or why it cannot."""
    waits = len(alive) >= runs.at_once()
    if waits and ready:
        st.info(parts.escape(_queue(alive)), icon=":material/schedule:")
    pressed = st.button(
        "Add to the queue" if waits else "Start training",
        type="primary",
        icon=":material/schedule:" if waits else ":material/play_arrow:",
        disabled=ready is None,
        help=reason,
    )
    if pressed and ready:
        _go(*ready)


def _queue(alive: Sequence[runs.Run]) -> str:
    """Say that a run will wait, and for how long as far as that is known."""
    running = [run for run in alive if run.state == runs.RUNNING]
    queued = len(alive) - len(running)
    at_once = runs.at_once()
    many = "one run trains" if at_once == 1 else f"{at_once:,} runs train"
    said = [f"At most {many} at a time here, so this one will wait."]
    left = [run.progress.get("seconds_left") for run in running]
    if left and all(seconds is not None for seconds in left):
        said.append(f"The one now training needs about {wording.duration(min(left))} more"
                    if len(left) == 1 else
                    f"The first of those now training needs about {wording.duration(min(left))} "
                    "more")  # fmt: skip
        said[-1] += "." if not queued else (
            ", and 1 more run waits before it." if queued == 1
            else f", and {queued:,} more runs wait before it."
        )  # fmt: skip
    elif queued:
        said.append("1 run waits before it." if queued == 1 else f"{queued:,} runs wait before it.")
    return " ".join(said)


def _go(job: Job, config: TrainingConfig) -> None:
    """Create and start the run, and go to it."""
    now, last = time.monotonic(), st.session_state.get("setup_started")
    if last and last[0] == (job.key, config) and now - last[1] < _ONE_CLICK:
        _open(last[2])
    title = st.session_state.get("setup_title", "").strip() or _title(job, config)
    try:
        run = runs.create(config, job.data.source, title)
        st.session_state["setup_started"] = ((job.key, config), now, run.id)
        runs.start(run)
    except KopError as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
        return
    for name in (_NOTE, "setup_title"):
        st.session_state.pop(name, None)
    _open(run.id)


def _open(run_id: str) -> None:
    st.query_params.from_dict({"run": run_id})
    st.rerun()
