"""An encoder that has seen many knees before it sees a label of bone density."""

from kop_core.pretraining.encoder import ENCODER, FACTS, SETTINGS, pretrain

__all__ = ["ENCODER", "FACTS", "SETTINGS", "pretrain"]
