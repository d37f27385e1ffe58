"""Python imports this at the start of every run in tests. Tracing is quicker so, as `tests.conftest` says."""

import gc

gc.set_threshold(100_000, 50, 1000)
