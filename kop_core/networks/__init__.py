"""The networks that KOP can train and serve, by name.

Every network is built flat with the Functional API (tf-keras-vis cannot look inside a
nested backbone) and uses nothing of one Keras backend alone.
"""

from kop_core.networks.network import Network
from kop_core.networks.registry import (
    build,
    counts,
    get,
    load,
    names,
    published_counts,
    split,
)

__all__ = [
    "Network",
    "build",
    "counts",
    "get",
    "load",
    "names",
    "published_counts",
    "split",
]
