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

left, right = st.columns(2, gap="medium")
with left.container(border=True, height="stretch"):
    st.subheader("Classify X-rays", anchor=False)
    st.markdown(
        "Upload one radiograph or a batch: PNG, JPEG, TIFF, BMP, WebP or DICOM. See the score of "
        "each class and a map of what spoke for it; download the table and the pictures. "
        "The pictures stay on the machine that runs KOP."
    )
    st.page_link("pages/classify.py", label="Classify X-rays", icon=":material/radiology:")
with right.container(border=True, height="stretch"):
    st.subheader("Read a model's card", anchor=False)
    st.markdown(
        "What each model was trained on, how its test images were chosen, what was measured on "
        "them, and what that says of a new patient."
    )
    st.page_link("pages/models.py", label="Read the cards", icon=":material/description:")

st.subheader("Models", anchor=False)
models, broken = model_store.list_models()
if not models and not broken:
    parts.no_models()
for model in models:
    with st.container(border=True):
        name, figure, go = st.columns([3, 5, 1.6], vertical_alignment="center")
        name.markdown(f"**{model.title}**  \n{model.id}, version {model.version}")
        with figure:
            st.markdown(f"Accuracy {parts.accuracy(model)}")
            parts.split_badge(model.card["split"])
            for caution in model.cautions:
                st.caption(f":material/warning: {parts.escape(caution)}")
        go.page_link(
            "pages/classify.py",
            label="Use it",
            icon=":material/radiology:",
            query_params={"model": model.id},
        )
        go.page_link(
            "pages/models.py",
            label="Card",
            icon=":material/description:",
            query_params={"model": model.id},
        )
parts.broken_models(broken)

st.subheader("Why the figures need reading", anchor=False)
st.markdown(
    "Most published accuracies in this field come from public collections in which each radiograph "
    "appears many times, cropped, rescaled or copied, sometimes under two labels. Split such a "
    "collection at random and nearly every test image has a copy in training; the figure then "
    "measures recognition, not diagnosis. KOP puts the split beside every accuracy, and an "
    "interval that counts radiographs, not files."
)
