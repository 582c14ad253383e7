"""Home: what KOP is, which models there are, where to go."""

import streamlit as st

from dashboard import parts
from kop_core import model_store

parts.begin("pages/home.py")
st.title("KOP: knee osteoporosis on X-rays")
st.markdown(
    "KOP classifies knee radiographs as **healthy**, **osteopenia** or **osteoporosis**, shows "
    "what the network looked at, and says how far to trust it."
)
parts.not_a_device()

CARDS = (
    (
        "Classify X-rays",
        "One radiograph or a batch: PNG, JPEG, TIFF, BMP, WebP or DICOM. The score of each class, "
        "and a map of what influenced the score of a class. The pictures stay on the machine that "
        "runs KOP.",
        "pages/classify.py",
        "Classify X-rays",
        ":material/radiology:",
    ),
    (
        "Train a model",
        "From a folder of radiographs to a model, with a split that keeps copies together. Watch "
        "it learn, stop it, go on, and read how good it is and where it fails.",
        "pages/train.py",
        "Train",
        ":material/model_training:",
    ),
    (
        "Audit a data set",
        "Which files show one radiograph, which are filed under two classes, what gives the class "
        "away, and how much of a test part was seen in training.",
        "pages/data.py",
        "Open a data set",
        ":material/dataset:",
    ),
    (
        "Read a model's report",
        "How often it is right, where it fails, whether its scores can be read as probabilities, "
        "and what a target sensitivity costs. Every figure with its 95 % interval.",
        "pages/report.py",
        "Read the reports",
        ":material/analytics:",
    ),
    (
        "Compare models",
        "Side by side, tested against each other on the same test images, with intervals, and the "
        "X-rays on which two disagree. Several together make an ensemble.",
        "pages/compare.py",
        "Compare them",
        ":material/compare_arrows:",
    ),
    (
        "See the mistakes",
        "Click a cell of the confusion matrix to see its X-rays, the most confident mistakes "
        "first, with copies and contradictory labels. Mark what is mislabelled.",
        "pages/confusion.py",
        "Open the matrix",
        ":material/grid_on:",
    ),
)
IN_A_ROW = 3
places = [p for _ in range(0, len(CARDS), IN_A_ROW) for p in st.columns(IN_A_ROW, gap="small")]
for place, (title, text, page, label, icon) in zip(places, CARDS):
    with place.container(border=True, height="stretch", vertical_alignment="distribute"):
        with st.container():
            st.subheader(title, anchor=False)
            st.markdown(text)
        st.page_link(page, label=label, icon=icon)

st.subheader("Models", anchor=False)
models, broken = model_store.list_models()
if not models and not broken:
    parts.no_models()
for model in models:
    with st.container(border=True):
        name, figure, go = st.columns([3, 5, 1.6], vertical_alignment="center")
        about = parts.escape(f"{model.id}, version {model.version}")
        name.markdown(f"**{parts.escape(model.title)}**  \n{about}")
        with figure:
            st.markdown(f"Accuracy {parts.accuracy(model)}")
            parts.split_badge(model.card["split"])
            parts.quiet_cautions(model)
        for page, label, icon in (
            ("pages/classify.py", "Use it", ":material/radiology:"),
            ("pages/report.py", "Report", ":material/analytics:"),
            ("pages/confusion.py", "Mistakes", ":material/grid_on:"),
            ("pages/models.py", "Card", ":material/description:"),
        ):
            go.page_link(page, label=label, icon=icon, query_params={"model": model.id})
parts.broken_models(broken)

st.subheader("Why the figures need reading", anchor=False)
st.markdown(
    "The collection that the paper used (1,415 of its 1,947 files are at hand) shows each of 175 "
    "radiographs about eight times, cropped, rescaled or copied, and 131 of them under more than "
    "one label. Split it at random and nearly every test image has a copy in training; the figure "
    "then measures recognition, not diagnosis. Other published studies seldom say how copies were "
    "kept apart. KOP puts the split beside every accuracy, and an interval that counts "
    "radiographs, not files."
)
