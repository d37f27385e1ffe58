"""Finds what a train step needs on a pod, by compiling it on a machine without one."""
