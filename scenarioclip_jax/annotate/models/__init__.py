"""Models that annotate: the protocols of `protocols.py`, and what stands behind them."""
