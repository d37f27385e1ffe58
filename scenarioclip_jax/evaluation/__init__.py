"""Scoring a model, on its own data and by public protocols."""
