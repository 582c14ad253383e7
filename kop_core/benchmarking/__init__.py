"""Every network on the same folds with the same budget, and a page of what came out."""

from kop_core.benchmarking.benchmarking import Told, benchmark, rebuild
from kop_core.benchmarking.cluster import Cluster
from kop_core.benchmarking.planning import RECIPE, Job, Series, for_epochs, plan, quick_plan

__all__ = [
    "RECIPE",
    "Cluster",
    "Job",
    "Series",
    "Told",
    "benchmark",
    "for_epochs",
    "plan",
    "quick_plan",
    "rebuild",
]
