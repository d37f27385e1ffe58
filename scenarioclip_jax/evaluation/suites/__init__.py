"""One module a protocol: its `SUITES`, and pure scoring functions on arrays beside them. Nothing is downloaded.

Adding a suite is adding a module: `registry` finds it, and `configs/evaluate.py` gets a section for it.
"""
