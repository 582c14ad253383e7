"""What augmentation does to real pictures of a data set, before anything is trained."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from PIL import Image

from kop_core.classes import CLASS_NAMES, by_name
from kop_core.datasets.audit.browsing import data_uri
from kop_core.errors import RadiographError
from kop_core.radiographs import Preparation, read
from kop_core.radiographs.preparation import prepare_grey

if TYPE_CHECKING:
    from kop_core.datasets import DataSet, Item
    from kop_core.datasets.feeding import Augmentation

A_CLASS = 2
ALTERED = 3
_SIDE = 160
_KEPT = "setup_pictures"
_STYLE = """
<style>
.kop-altered {display: grid; grid-template-columns: repeat(var(--many), minmax(0, 7.6rem));
  gap: .35rem .5rem; font-size: .8rem;}
.kop-altered img {display: block; width: 100%; background: #000; border-radius: 3px;}
.kop-altered .kop-turn {grid-column: 1 / -1; margin: .2rem 0 0 0; opacity: .85;}
.kop-altered .kop-original {border-bottom: 4px solid var(--class);}
.kop-altered figure {margin: 0;}
.kop-altered figcaption {line-height: 1.3; margin-top: .15rem;}
</style>
"""


def draw(
    job_key: str,
    data: DataSet,
    items: Sequence[Item],
    preparation: Preparation,
    augmentation: Augmentation | None,
    seed: int,
) -> None:
    """Draw some pictures as the network is fed them, and under each three altered ones.

    Args:
        job_key: tells data sets apart.
        data: the data set.
        items: its training part.
        preparation: of pixels.
        augmentation: how they are altered, or ``None``.
        seed: of the run; another one alters otherwise.
    """
    pictures = _pictures(job_key, data, items, preparation)
    if not pictures:
        st.caption("No picture of the training part can be read.")
        return
    cells = ['<p class="kop-turn">Originals, as the network is fed them</p>']
    for item, grey in pictures:
        label = html.escape(by_name(item.true).label)
        cells.append(
            f'<figure style="--class: {by_name(item.true).colour}">'
            f'<img class="kop-original" src="{_uri(grey, preparation)}" '
            f'alt="A radiograph filed under {label.lower()}">'
            f"<figcaption>{label}</figcaption></figure>"
        )
    if augmentation is not None:
        cells.append(
            '<p class="kop-turn">The same, altered as in training: three draws of each</p>'
        )
        for turn in range(ALTERED):
            for place, (item, grey) in enumerate(pictures):
                rng = np.random.default_rng((seed, 1, turn, place))
                altered = augmentation.apply(grey, preparation, rng)
                cells.append(
                    f'<img src="{_uri(altered, preparation)}" '
                    f'alt="The radiograph above, {by_name(item.true).name}, altered">'
                )
    st.html(_STYLE)
    st.html(f'<div class="kop-altered" style="--many: {len(pictures)}">{"".join(cells)}</div>')


def _pictures(
    job_key: str, data: DataSet, items: Sequence[Item], preparation: Preparation
) -> list[tuple[Item, np.ndarray]]:
    """Return the first files of each class, of different radiographs, prepared."""
    chosen = _choose(items)
    wanted = (job_key, preparation.name, tuple(i.file for i in chosen))
    kept = st.session_state.get(_KEPT)
    if kept is None or kept[0] != wanted:
        read_ones = [(item, _prepared(data, item, preparation)) for item in chosen]
        kept = (wanted, [(item, grey) for item, grey in read_ones if grey is not None])
        st.session_state[_KEPT] = kept
    return kept[1]


def _choose(items: Sequence[Item]) -> list[Item]:
    chosen = []
    for name in CLASS_NAMES:
        seen: set[str] = set()
        for item in items:
            if item.true == name and item.radiograph not in seen and len(seen) < A_CLASS:
                seen.add(item.radiograph)
                chosen.append(item)
    return chosen


def _prepared(data: DataSet, item: Item, preparation: Preparation) -> np.ndarray | None:
    try:
        return prepare_grey(read(data.path(item)), preparation)
    except RadiographError:
        return None


def _uri(grey: np.ndarray, preparation: Preparation) -> str:
    share = (grey - preparation.low) / (preparation.high - preparation.low)
    picture = Image.fromarray(np.round(np.clip(share, 0, 1) * 255).astype(np.uint8))
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return data_uri(stream.getvalue())
