"""Models: the card of each."""

import streamlit as st

from dashboard import parts
from kop_core import model_store

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
    st.warning(f"There is no model called {parts.escape(asked)} here. Showing {models[0].id}.")
chosen = parts.choose_model(by_id, "card_of")
model = by_id[chosen]
st.header(parts.escape(model.title), anchor=False)
with st.container(horizontal=True):
    for page, label, icon in (
        ("pages/report.py", "Read its report", ":material/analytics:"),
        ("pages/classify.py", "Classify X-rays with it", ":material/radiology:"),
    ):
        st.page_link(page, label=label, icon=icon, query_params={"model": model.id})
st.markdown(f"Accuracy {parts.accuracy(model)}")
parts.card(model)
parts.not_a_device()
