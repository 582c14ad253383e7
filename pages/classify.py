"""Classify: what does the model say of these radiographs, and what did it look at?"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from dashboard import confusion, loading, parts, pictures
from kop_core import cases, figures, model_store, overlay, radiographs, wording
from kop_core.cases import Case
from kop_core.classes import CLASSES, by_name
from kop_core.errors import DataSetError, KopError
from kop_core.explanation import METHODS, Influence
from kop_core.model_store import Model
from kop_core.prediction import Prediction

PICTURE_HEIGHT = 560
PAIR_HEIGHT = 440
MOST_LIKELY = "Most likely"
VIEWS = ("Picture", "Overlay", "Both")
WINDOWS = {"Full range": (0, 100), "Bone": (30, 100), "Soft tissue": (5, 60)}


def main() -> None:
    """Draw the page."""
    parts.begin("pages/classify.py")
    st.title("Classify knee X-rays", anchor=False)
    models, broken = model_store.list_models()
    upload, choice = st.columns([1.75, 1], gap="medium")
    with choice:
        model = _choose(models)
    parts.broken_models(broken)
    if model is None:
        if not broken:
            parts.no_models()
        return
    with upload:
        files = [*_upload(), *_of_test_part({m.id: m for m in models})]
    _forget({file.file_id for file in files})
    if not files:
        _empty()
    else:
        _results(model, files)
    parts.not_a_device(
        "Only DICOM files say what they show; of others KOP takes your word that they are knees."
    )
    loading.start_loading(model)  # last: the page is drawn before TensorFlow is imported


def _upload() -> list:
    return st.file_uploader(
        "Radiographs of the knee",
        type=None,  # DICOM files often have no extension; KOP itself says what it cannot read
        accept_multiple_files=True,
        help="PNG, JPEG, TIFF, BMP, WebP or DICOM. The files go to the machine that runs KOP and "
        "no further, and are forgotten when they are taken away here or the page is closed.",
        key="files",
    )


@dataclass(frozen=True)
class _TestFile:
    """A file of a model's test part, as an upload looks here."""

    file_id: str
    name: str
    data: bytes

    def getvalue(self) -> bytes:
        return self.data


def _of_test_part(by_id: dict[str, Model]) -> list[_TestFile]:
    """Return the test case that the address names, if its picture is on this machine.

    The address says which file of which model's test part is meant. Where that lies is
    found by the data's fingerprint, and its bytes are compared with its digest.
    """
    file = st.query_params.get("case")
    if not file:
        return []
    owner = st.query_params.get("of") or st.query_params.get("model")
    if owner not in by_id:
        st.warning(
            "The case in the address is of a model that is not here.", icon=":material/warning:"
        )
        return []
    model = by_id[owner]
    try:
        _, predictions = confusion.predictions_of(model)
        if file not in predictions.files:
            raise DataSetError(f"{file[:200]} is no image of the test part of {model.title}.")
    except KopError as error:
        _no_case(error)
        _ways_on(model)
        return []
    try:
        data = pictures.images_of(model).read(file)
    except KopError as error:
        _no_case(error)
        _ways_on(model, look_again=True)
        return []
    true = CLASSES[predictions.true[predictions.files.index(file)]].name
    st.caption(
        parts.escape(
            f"{file}, of the test part of {model.title}, labelled {true}. How far to trust what a "
            "model says of such pictures is in its report."
        )
    )
    _ways_on(model)
    return [_TestFile(f"case:{owner}:{file}", Path(file).name, data)]


def _ways_on(model: Model, look_again: bool = False) -> None:
    """Draw the ways from a case: back to its matrix, where its folder can be named, or closed."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            "pages/confusion.py", label="Back to its matrix", icon=":material/grid_on:",
            query_params=confusion.address_of(st.query_params.get("back", ""), model),
        )  # fmt: skip
        if look_again:
            pictures.look_again_button()
        st.button("Close this case", icon=":material/close:", on_click=_close_case, type="tertiary")


def _no_case(error: KopError) -> None:
    st.warning(parts.escape(f"The case cannot be shown. {error}"), icon=":material/warning:")


def _close_case() -> None:
    for name in ("case", "of", "back"):
        st.query_params.pop(name, None)


def _choose(models: list[Model]) -> Model | None:
    if not models:
        return None
    by_id = {m.id: m for m in models}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = parts.choose_model(by_id, "model")
        if st.button(
            "Card",
            icon=":material/description:",
            help="What this model was trained on and what it is worth",
        ):
            _card(by_id[chosen])
    return by_id[chosen]


@st.dialog("The model's card", width="large")
def _card(model: Model) -> None:
    st.markdown(f"### {parts.escape(model.title)}")
    parts.card(model)


def _empty() -> None:
    st.info(
        "Drop one radiograph or many above. A front view (AP) of one or both knees is what the "
        "models were trained on. For each you will see the score of each class, and a map of "
        "what influenced the score of a class.",
        icon=":material/upload:",
    )


def _results(model: Model, files: list) -> None:
    try:
        found = _examine_all(model, files)
    except KopError as error:
        st.error(parts.escape(str(error)), icon=":material/error:")
        return
    case = _batch(model, found, files) if len(found) > 1 else found[0]
    if case.error:
        st.error(parts.escape(case.error), icon=":material/error:")
    if case.prediction:
        _detail(model, case, files[found.index(case)])


def _examine_all(model: Model, files: list) -> list[Case]:
    """Classify what is not classified yet; what is done stays, whatever happens next."""
    kept: dict = st.session_state.setdefault("cases", {})
    wanted = [(file.file_id, model.id, model.version) for file in files]
    missing = [(k, f) for k, f in zip(wanted, files) if k not in kept]
    if missing:
        with st.spinner("Starting TensorFlow and loading the model. Some seconds, once."):
            classifier = loading.start_loading(model).result()
        bar = st.progress(0.0) if len(missing) > 1 else None
        began = time.monotonic()
        for done, (key, file) in enumerate(missing):
            if bar:
                said = f"{done} of {len(missing)}: {file.name}{_time_left(began, done, missing)}"
                bar.progress(done / len(missing), parts.escape(said))
            kept[key] = cases.examine(file.getvalue(), file.name, classifier)
        if bar:
            bar.empty()
    return [kept[key] for key in wanted]


def _time_left(began: float, done: int, missing: list) -> str:
    if not done:
        return ""
    seconds = (time.monotonic() - began) / done * (len(missing) - done)
    return f", about {wording.duration(seconds)} left" if seconds > 2 else ""


def _forget(present: set[str]) -> None:
    """Drop all that is kept of files that were taken away."""
    kept: dict = st.session_state.setdefault("cases", {})
    for key in [k for k in kept if k[0] not in present]:
        del kept[key]
    seen = {case.key for case in kept.values()}
    maps: dict = st.session_state.get("maps", {})
    for key in [k for k in maps if k[0] not in seen]:
        del maps[key]


def _batch(model: Model, found: list[Case], files: list) -> Case:
    """Draw the table of the batch and return the case whose row is chosen."""
    failed = [c for c in found if c.error]
    st.markdown(
        f"**{len(found) - len(failed)} of {len(found)} classified.** Choose a row to see it."
    )
    chosen = st.dataframe(
        [_row(c, model) for c in found],
        column_config=_columns(found),
        hide_index=True,
        height=min(38 * len(found) + 40, 232),
        row_height=38,
        on_select="rerun",
        selection_mode="single-row",
        # Another batch is another table: a row chosen in the last one means nothing here.
        key=f"table_{hash(tuple((c.name, c.key) for c in found))}",
        alt="The batch, a row a file: class, how sure, and the score of each class",
    )
    _batch_downloads(model, found, files)
    if failed:
        listed = "\n".join(f"- {parts.escape(c.error or '')}" for c in failed)
        st.warning(f"Not classified:\n{listed}", icon=":material/warning:")
    rows = chosen["selection"]["rows"]
    place = rows[0] if rows and rows[0] < len(found) else _first_good(found)
    return found[place]


def _first_good(found: list[Case]) -> int:
    return next((i for i, c in enumerate(found) if c.prediction), 0)


def _row(case: Case, model: Model) -> dict:
    thumbnail = case.thumbnail
    row = {
        "Picture": "data:image/png;base64," + base64.b64encode(thumbnail).decode()
        if thumbnail
        else None,
        "File": case.name,
        "Class": "not classified",
        "How sure": "",
    }
    row |= {c.label: None for c in CLASSES}
    if case.prediction:
        row["Class"] = by_name(case.prediction.class_name).label
        row["How sure"] = wording.sureness(case.prediction)
        row |= {c.label: 100 * case.prediction.probabilities[c.name] for c in CLASSES}
    cautions = case.prediction.cautions if case.prediction else ()
    # What is said of the model stands beside each verdict; here it would be in every row.
    row["Notes"] = case.error or " ".join(c for c in cautions if c not in model.cautions)
    return row


def _columns(found: list[Case]) -> dict:
    what = (
        "Probability" if any(c.prediction and c.prediction.calibrated for c in found) else "Score"
    )
    config = {
        "Picture": st.column_config.ImageColumn(width=52),
        "File": st.column_config.TextColumn(width="medium"),
        "Notes": st.column_config.TextColumn(width="large"),
    }
    for c in CLASSES:
        config[c.label] = st.column_config.ProgressColumn(
            c.label,
            help=f"{what} of {c.name}, in per cent",
            format="%.0f %%",
            min_value=0,
            max_value=100,
            width=98,
            color=c.colour,
        )
    return config


def _batch_downloads(model: Model, found: list[Case], files: list) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Download the table (CSV)",
            cases.to_csv(found).encode("utf-8-sig"),  # the mark tells Excel that it is UTF-8
            "kop_batch.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "Download all overlays (ZIP)",
            lambda: _all_overlays(model, found, files),
            "kop_overlays.zip",
            "application/zip",
            icon=":material/download:",
            on_click="ignore",
        )


def _all_overlays(model: Model, found: list[Case], files: list) -> bytes:
    """Grad-CAM of each predicted class, laid over the preview; none without evidence."""

    def explain(place: int) -> Influence:
        case = found[place]
        classifier = loading.start_loading(model).result()
        radiograph = radiographs.read(files[place].getvalue(), case.name)
        called = case.prediction.class_name
        return classifier.classify(radiograph, "gradcam", called).influence

    return cases.zip_overlays(found, explain, "gradcam")


@st.fragment
def _detail(model: Model, case: Case, file) -> None:
    """Draw one radiograph, what the model says of it, and what it looked at."""
    prediction = case.prediction
    settings = _toolbar(prediction.class_name)
    centre, right = st.columns([1.75, 1], gap="medium")
    with right:
        _verdict(model, case.name, prediction)
    with centre:
        picture = _picture(model, case, file, settings)
    with right:
        _downloads(case, settings, picture)
        with st.expander("Facts of the file"):
            parts.facts(case.facts())


def _verdict(model: Model, name: str, prediction: Prediction) -> None:
    st.caption(parts.escape(name))
    st.html(f'<p class="kop-verdict">{wording.unbroken(wording.verdict(prediction))}</p>')
    guessing = wording.guessing(model.card)
    if guessing:  # before anything else: it takes back what the verdict seems to say
        st.warning(parts.escape(wording.unbroken(guessing)), icon=":material/warning:")
    st.plotly_chart(
        figures.probability_bars(prediction),
        config=figures.chart_config("kop_probabilities"),
        key="bars",
        alt="Scores: " + _in_words(prediction.probabilities),
    )
    st.caption(wording.calibrated(model.card))
    st.markdown(
        f"**{parts.escape(model.title)}**, version {parts.escape(model.version)}  \n"
        f"Accuracy {parts.accuracy(model)}"
    )
    parts.split_badge(model.card["split"])
    for caution in prediction.cautions:
        if caution != guessing:
            said = f":material/info: {parts.escape(wording.unbroken(caution))}"
            (st.warning if caution in model.cautions else st.caption)(said)


def _downloads(case: Case, settings: dict, picture: bytes | None) -> None:
    with st.container(horizontal=True):
        if picture is not None:
            name = cases.overlay_name(case.name, settings["class"], settings["method"], set())
            st.download_button(
                "Overlay (PNG)",
                picture,
                name,
                "image/png",
                icon=":material/download:",
                on_click="ignore",
                key="overlay_png",
            )
        st.download_button(
            "Scores (CSV)",
            cases.to_csv([case]).encode("utf-8-sig"),
            "kop_scores.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="one_csv",
        )


def _in_words(probabilities: dict[str, float]) -> str:
    return ", ".join(f"{name} {wording.percent(p)}" for name, p in probabilities.items())


def _toolbar(predicted: str) -> dict:
    """Draw what sets the picture, and return the settings."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = st.segmented_control("View", VIEWS, default="Overlay", key="view", required=True)
        method = st.selectbox(
            "Method",
            list(METHODS),
            format_func=lambda m: METHODS[m].title,
            key="method",
            width=135,
            help="  \n".join(f"**{m.title}** ({m.source}): {m.what}" for m in METHODS.values()),
        )
        class_name = st.selectbox(
            "Class to explain",
            [MOST_LIKELY, *(c.name for c in CLASSES)],
            format_func=lambda n: n if n == MOST_LIKELY else by_name(n).label,
            key="class",
            width=140,
            help="The map is drawn for this class. Saliency marks what raises and what lowers its "
            "score.",
        )
        strength = st.slider(
            "Overlay strength",
            0,
            100,
            60,
            5,
            format="%d %%",
            key="strength",
            width=150,
            disabled=view == "Picture",
        )
        with st.popover("Grey scale", icon=":material/contrast:"):
            window = st.radio("Window", [*WINDOWS, "Own"], key="window", horizontal=True)
            own = st.slider(
                "Black to white, in % of the grey scale",
                0,
                100,
                (0, 100),
                key="own",
                disabled=window != "Own",
            )
            invert = st.toggle("Invert", key="invert")
            st.caption("For looking only: the model is always given the whole grey scale.")
        st.button(
            "Overlay",
            icon=":material/layers:",
            shortcut="o",
            on_click=_switch_overlay,
            help="Show or hide the overlay",
        )
    low, high = own if window == "Own" else WINDOWS[window]
    return {
        "view": view,
        "method": method,
        "class": predicted if class_name == MOST_LIKELY else class_name,
        "window": (low / 100, high / 100),
        "invert": invert,
        "strength": strength / 100,
    }


def _switch_overlay() -> None:
    shown = st.session_state.get("view")
    if shown == "Picture":
        st.session_state["view"] = st.session_state.get("view_before", "Overlay")
    else:
        st.session_state["view_before"] = shown
        st.session_state["view"] = "Picture"


def _picture(model: Model, case: Case, file, settings: dict) -> bytes | None:
    """Draw the picture and return the overlay as PNG, if there is one."""
    grey = overlay.render(case.preview, window=settings["window"], invert=settings["invert"])
    influence = None
    if settings["view"] != "Picture":
        influence = _influence(model, case, file, settings["method"], settings["class"])
    method = METHODS[settings["method"]]
    if influence is not None and not influence.evidence:
        st.info(
            f"By {method.title} nothing in the picture speaks for {influence.class_name}: the map "
            "has no positive evidence, so none is drawn.",
            icon=":material/info:",
        )
    if influence is None or not influence.evidence:
        _draw([grey], ["Radiograph"], False, f"Radiograph {case.name}")
        return None
    laid = overlay.blend(grey, influence, settings["strength"])
    said = f"{method.title}: what the network looked at for {influence.class_name}"
    if settings["view"] == "Both":
        _draw([overlay.blend(grey, influence, 0.0), laid], ["Radiograph", "Overlay"], True, said)
    else:
        _draw([laid], ["Overlay"], True, said)
    st.caption(f"{said}. {method.caution} {_scale(influence)} It is not the outline of a lesion.")
    return overlay.to_png(laid)


def _scale(influence: Influence) -> str:
    rows, columns = influence.cells
    grid = f" in {rows} × {columns} cells, enlarged" if rows < 100 else ""
    return (
        f"Colours run from none to the strongest place of this map{grid}: they say nothing of how "
        "strong it is beside another map."
    )


def _draw(shown: list, titles: list[str], colour_bar: bool, alt: str) -> None:
    st.plotly_chart(
        figures.pictures(
            shown, titles, colour_bar, PICTURE_HEIGHT if len(shown) == 1 else PAIR_HEIGHT
        ),
        config=figures.PICTURE_CONFIG,
        key="picture",
        alt=alt,
    )


def _influence(model: Model, case: Case, file, method: str, class_name: str) -> Influence | None:
    """Return a map, from this session's memory if it was drawn before."""
    kept: dict = st.session_state.setdefault("maps", {})
    key = (case.key, model.id, model.version, method, class_name)
    if key not in kept:
        try:
            with st.spinner(f"Drawing {METHODS[method].title}", show_time=method == "scorecam"):
                classifier = loading.start_loading(model).result()
                radiograph = radiographs.read(file.getvalue(), case.name)
                kept[key] = classifier.classify(radiograph, method, class_name).influence
        except KopError as error:
            st.warning(parts.escape(str(error)), icon=":material/warning:")
            return None
        while len(kept) > 200:
            kept.pop(next(iter(kept)))
    return kept[key]


main()
