"""The colours of the theme: words on a background are read by people with weak sight too."""

import re
from pathlib import Path

import pytest
import toml

from dashboard import parts
from tests.contrast import contrast

CONFIG = Path(__file__).resolve().parent.parent / ".streamlit" / "config.toml"
LEAST = 4.5  # WCAG 2.2 AA, 1.4.3
# What dashboard.parts gives buttons, since Streamlit writes white on each primary colour.
WORDS_ON_PRIMARY = dict(
    zip(("light", "dark"), re.search(r"light-dark\((#\w+), (#\w+)\)", parts._STYLE).groups())
)


def test_contrast_itself():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(mode):
    theme = toml.loads(CONFIG.read_text())["theme"][mode]
    pairs = [
        (theme["textColor"], theme["backgroundColor"]),
        (theme["textColor"], theme["secondaryBackgroundColor"]),
        (theme["linkColor"], theme["backgroundColor"]),
        (WORDS_ON_PRIMARY[mode], theme["primaryColor"]),
        *((theme[f"{c}TextColor"], theme[f"{c}BackgroundColor"]) for c in ("yellow", "gray")),
    ]
    assert all(contrast(*pair) >= LEAST for pair in pairs), pairs
