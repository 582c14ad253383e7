"""The commands of ``python -m kop_core``, one module each with ``add(commands)``."""
