"""For all tests: one BLAS thread, before anything imports NumPy. Its threads spin while they wait for each other."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
