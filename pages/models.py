"""Models: the card of each."""

import streamlit as st

from kop_core import model_store
from pages import parts

parts.begin("pages/models.py")
st.title("Models")
models, broken = model_store.list_models()
parts.broken_models(broken)
if not models:
    if not broken:
        parts.no_models()
    st.stop()

by_id = {m.id: m for m in models}
asked = st.query_params.get("model")
if asked and asked not in by_id and asked not in {b.id for b in broken}:
    st.warning(f"There is no model called {asked} here. Showing {models[0].id}.")
if len(models) > 1:
    place = list(by_id).index(asked) if asked in by_id else 0
    chosen = st.selectbox(
        "Model", list(by_id), index=place, format_func=lambda i: f"{by_id[i].title} ({i})"
    )
else:
    chosen = models[0].id
st.query_params["model"] = chosen
model = by_id[chosen]
st.header(model.title, anchor=False)
st.markdown(f"Accuracy {parts.accuracy(model)}")
parts.card(model)
st.page_link(
    "pages/classify.py",
    label="Classify X-rays with it",
    icon=":material/radiology:",
    query_params={"model": model.id},
)
parts.not_a_device()
