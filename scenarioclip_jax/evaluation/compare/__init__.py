"""One table of several evaluations: systems, seeds, paired differences, ranks."""
