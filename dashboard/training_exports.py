"""Taking a run's model out of KOP, and bringing in one that another KOP made.

ONNX and TensorBoard need TensorFlow, which this process does not import for them: they are
made by a command in a process of its own, in a thread that no page waits for.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from dashboard import parts, training_result
from dashboard.evaluated import LINE
from kop_core import model_store
from kop_core.errors import KopError, RunError

if TYPE_CHECKING:
    from kop_core.training.runs import Run

_CODE = Path(__file__).resolve().parent.parent
_TIMEOUT = 900
KEPT = 8


@dataclass(frozen=True)
class Kind:
    """What a run can be made into by a command.

    Attributes:
        option: of ``python -m kop_core export``.
        label: of its button.
        what: what it is for, in a sentence.
        suffix: of the file that is downloaded.
        mime: its kind.
    """

    option: str
    label: str
    what: str
    suffix: str
    mime: str


KINDS = {
    "onnx": Kind(
        "--onnx",
        "ONNX",
        "For other programs. It is checked against the model here on real pictures.",
        ".onnx",
        "application/octet-stream",
    ),
    "tensorboard": Kind(
        "--tensorboard",
        "TensorBoard logs",
        "The epochs as TensorBoard reads them.",
        ".zip",
        "application/zip",
    ),
}


class Export:
    """One export: under way or done.

    Attributes:
        file: what was made, once it is.
        said: what is to be said of it.
    """

    def __init__(self, run: Run, kind: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kop-export-"))
        self.file = self.folder / f"{run.id}{KINDS[kind].suffix}"
        self.said = ""
        self._future: Future[None] = _worker().submit(self._make, run, kind)
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether it is under way."""
        return not self._future.done()

    @property
    def error(self) -> str | None:
        """Why nothing was made, as a sentence, or ``None``."""
        error = None if self.running else self._future.exception()
        if error is None:
            return None
        if isinstance(error, (KopError, OSError)):
            return str(error)
        return f"The export ended unexpectedly ({type(error).__name__})."

    def _make(self, run: Run, kind: str) -> None:
        made = self.folder / "made" if kind == "tensorboard" else self.file
        said = run_command(["export", run.id, KINDS[kind].option, str(made)], run.folder.parent)
        if kind == "tensorboard":
            _zip_folder(made, self.file)
            said = "Unpack it, and look at it with: tensorboard --logdir FOLDER"
        self.said = said.removeprefix(f"Written: {self.file}. ")


def run_command(arguments: list[str], root: Path) -> str:
    """Run a command of KOP in a process of its own and return what it printed.

    Args:
        arguments: behind ``python -m kop_core``.
        root: the runs folder.

    Raises:
        RunError: with its own words, if it failed.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", "kop_core", *arguments],
            cwd=_CODE,
            env={**os.environ, "KOP_RUNS": str(root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"The export took longer than {_TIMEOUT // 60} minutes.") from None
    if done.returncode:
        raise RunError(_reason(done.stderr.decode(errors="replace")))
    return done.stdout.decode(errors="replace").strip()


def _reason(errors: str) -> str:
    """Return the sentence of a command that failed; its last words if it has none."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    said = [line.partition(": ")[2] for line in lines if line.startswith("kop_core: ")]
    return (
        said[-1] if said else f"The export ended without a reason ({(lines or ['no word'])[-1]})."
    )


def _zip_folder(folder: Path, file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())


@st.cache_resource(show_spinner=False)
def _worker() -> ThreadPoolExecutor:
    """One thread for all sessions: TensorFlow twice at once would take twice the memory."""
    return ThreadPoolExecutor(1, thread_name_prefix="kop-export")


@st.cache_resource(show_spinner=False)
def _exports() -> dict[tuple[str, str, str], Export]:
    return {}


def _key(run: Run, kind: str) -> tuple[str, str, str]:
    """Return what an export is kept by: a run that was resumed makes another model."""
    card = run.folder / model_store.CARD
    return str(run.folder), str(card.stat().st_mtime_ns if card.is_file() else 0), kind


def draw(run: Run) -> None:
    """Draw the ways to take a model out."""
    st.subheader("Export", anchor=False)
    places = st.columns(3, gap="medium")
    with places[0]:
        st.markdown("**Model folder (ZIP)**  \nFor another KOP, or to keep.")
        st.download_button(
            "Download",
            lambda: _bundle(run),
            f"{training_result.slug(run.title) or run.id}.zip",
            "application/zip",
            icon=":material/download:",
            on_click="ignore",
            key="export_zip",
        )
    for place, kind in zip(places[1:], KINDS):
        with place:
            st.markdown(f"**{KINDS[kind].label}**  \n{KINDS[kind].what}")
            export = _exports().get(_key(run, kind))
            running = export is not None and export.running
            st.fragment(_one, run_every=1.0 if running else None)(run, kind, running)


def _one(run: Run, kind: str, was_running: bool) -> None:
    key = _key(run, kind)
    export = _exports().get(key)
    if was_running and not (export and export.running):
        st.rerun()
    if export is None or export.error:
        if export is not None:
            st.error(parts.escape(export.error or ""), icon=":material/error:")
        if st.button("Make it", icon=":material/build:", key=f"make_{kind}"):
            _exports()[key] = Export(run, kind)
            while len(_exports()) > KEPT:
                _exports().pop(next(iter(_exports())))
            st.rerun()
    elif export.running:
        with st.spinner("Being made: TensorFlow is started for it. Half a minute or so."):
            st.empty()
        st.caption(":material/hourglass_empty: Being made. You may leave this page meanwhile.")
    else:
        st.download_button(
            "Download",
            export.file.read_bytes,
            export.file.name,
            KINDS[kind].mime,
            icon=":material/download:",
            on_click="ignore",
            key=f"export_{kind}",
        )
        if export.said:
            st.caption(parts.escape(export.said))


def _bundle(run: Run) -> bytes:
    from kop_core.exchange import bundles

    stream = io.BytesIO()
    bundles.write_bundle(run.folder, stream)
    return stream.getvalue()


# Bringing in.


def draw_import() -> None:
    """Draw the form that brings in a model from another KOP."""
    with st.expander("Bring a model from another KOP", icon=":material/upload_file:"):
        st.markdown(
            "A model that was exported as a ZIP is verified before it is used: its checksums, its "
            "network and its figures. No program is ever loaded from it.",
            width=LINE,
        )
        if said := st.session_state.pop("brought_in", None):
            st.session_state["import_name"] = ""
            _say_brought_in(*said)
        file, named = st.columns([1.6, 1], gap="medium", vertical_alignment="bottom")
        dropped = file.file_uploader("Model (ZIP)", type=["zip"], key="import_zip")
        _suggest_name(training_result.slug(Path(dropped.name).stem) if dropped else "")
        name = named.text_input(
            "Name that it gets here",
            key="import_name",
            max_chars=64,
            help="Small letters, digits, dots, hyphens, underscores.",
        )
        if named.button(
            "Bring it in", icon=":material/upload:", disabled=dropped is None, key="import_button"
        ):
            _bring_in(dropped, name.strip())
        file_id, error = st.session_state.get("import_error", (None, ""))
        if dropped is not None and dropped.file_id == file_id:
            st.error(parts.escape(error), icon=":material/error:")


def _suggest_name(name: str) -> None:
    """Fill in a name, unless a person has typed one."""
    state = st.session_state
    if state.get("import_name", "") in ("", state.get("import_suggested")):
        state["import_name"] = name
    state["import_suggested"] = name


def _bring_in(dropped: Any, name: str) -> None:
    from kop_core.exchange import bundles

    try:
        with st.spinner("Verifying the model."):
            model = bundles.read_bundle(dropped, name)
    except KopError as error:
        st.session_state["import_error"] = (dropped.file_id, str(error))
    except OSError as error:
        said = f"The model could not be written to {model_store.default_folder()}: "
        st.session_state["import_error"] = (dropped.file_id, f"{said}{error.strerror or error}.")
    else:
        st.session_state.pop("import_error", None)
        st.session_state["brought_in"] = (model.id, model.title)
        st.rerun()


def _say_brought_in(model_id: str, title: str) -> None:
    st.success(
        parts.escape(f"{title} is here as {model_id}. Nothing in it differs from its card."),
        icon=":material/check_circle:",
    )
    parts.model_links(model_id)
