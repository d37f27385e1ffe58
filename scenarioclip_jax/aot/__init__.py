"""What a train step needs on a pod, compiled on a machine without one."""
