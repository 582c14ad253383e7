"""The paper run again, by its protocol and by radiograph, and a page of what came out."""

from kop_core.reproduction.reproducing import rebuild, reproduce
from kop_core.reproduction.settings import PAPER_SETTINGS, Job, plan

__all__ = ["PAPER_SETTINGS", "Job", "plan", "rebuild", "reproduce"]
