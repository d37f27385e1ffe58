"""Ragged scenes in, arrays of fixed shapes out."""
