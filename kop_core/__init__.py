"""KOP: knee X-rays classified as healthy, osteopenia or osteoporosis.

The core has no user interface: it returns values, raises the errors of
:mod:`kop_core.errors`, and reports progress through callbacks.
"""

__version__ = "0.1.0"
