"""``python -m kop_core``."""

import sys

from kop_core import backend
from kop_core.cli import main

backend.settle()
sys.exit(main())
