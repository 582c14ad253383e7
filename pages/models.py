"""Models: the card of each."""

import streamlit as st

from dashboard import parts

# Models that are put beside one in a comparison, until others are chosen there.
BESIDE = 3

parts.begin("pages/models.py")
st.title("Models")
by_id = parts.models_here()
if not by_id:
    st.stop()
chosen = parts.choose_model(by_id, "card_of")
model = by_id[chosen]
st.header(parts.escape(model.title), anchor=False)
of_it = {"model": model.id}
others = [m for m in by_id if m != chosen][:BESIDE]
with st.container(horizontal=True):
    for page, label, icon, query in (
        ("pages/report.py", "Read its report", ":material/analytics:", of_it),
        ("pages/confusion.py", "See its matrix", ":material/grid_on:", of_it),
        ("pages/compare.py", "Compare it", ":material/compare_arrows:",
         {"models": ",".join([model.id, *others])}),
        ("pages/classify.py", "Classify X-rays with it", ":material/radiology:", of_it),
    ):  # fmt: skip
        st.page_link(page, label=label, icon=icon, query_params=query)
st.markdown(f"Accuracy {parts.accuracy(model)}")
parts.card(model)
parts.not_a_device()
