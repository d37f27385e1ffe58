"""Counting: FLOPs, chips, collectives, memory and what bounds a step."""
