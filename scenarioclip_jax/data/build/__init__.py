"""Offline: annotations in, shards out."""
