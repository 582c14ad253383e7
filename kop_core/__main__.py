"""``python -m kop_core``."""

import os
import sys

# TensorFlow's start-up notes are for its developers; real errors still come through.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from kop_core.cli import main

sys.exit(main())
