"""Scoring a model, on its own data and with public protocols."""
