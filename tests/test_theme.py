"""The colours of the theme: words on a background are read by people with weak sight too."""

from pathlib import Path

import pytest
import toml

CONFIG = Path(__file__).resolve().parent.parent / ".streamlit" / "config.toml"
LEAST = 4.5  # WCAG 2.2 AA, 1.4.3


def _luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_itself():
    assert _contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert _contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(mode):
    theme = toml.loads(CONFIG.read_text())["theme"][mode]
    pairs = [
        (theme["textColor"], theme["backgroundColor"]),
        (theme["textColor"], theme["secondaryBackgroundColor"]),
        (theme["linkColor"], theme["backgroundColor"]),
        *((theme[f"{c}TextColor"], theme[f"{c}BackgroundColor"]) for c in ("yellow", "gray")),
    ]
    assert all(_contrast(*pair) >= LEAST for pair in pairs), pairs
