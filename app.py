"""KOP's dashboard: ``streamlit run app.py``."""

from pathlib import Path

import streamlit as st

from dashboard import loading, parts
from kop_core import backend

ICON = Path(__file__).parent / "assets" / "icon.png"

backend.settle()
loading.keep_keras()
st.set_page_config(page_title="KOP: knee osteoporosis on X-rays", page_icon=ICON, layout="wide")
st.logo(ICON, size="large")
page = st.navigation(
    [
        st.Page("pages/home.py", title="Home", icon=":material/home:", default=True),
        st.Page("pages/classify.py", title="Classify", icon=":material/radiology:"),
        st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
        st.Page("pages/data.py", title="Data", icon=":material/dataset:"),
        st.Page("pages/models.py", title="Models", icon=":material/description:"),
        st.Page(
            "pages/report.py",
            title="Model report",
            url_path="report",
            icon=":material/analytics:",
        ),
        st.Page(
            "pages/compare.py",
            title="Compare",
            url_path="compare",
            icon=":material/compare_arrows:",
        ),
        st.Page(
            "pages/confusion.py",
            title="Confusion",
            url_path="confusion",
            icon=":material/grid_on:",
        ),
    ],
    position="top",
)
wanted = parts.entered()
if wanted is not None:
    st.switch_page(wanted[0], query_params=wanted[1])
page.run()
