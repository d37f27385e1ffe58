"""The drawn scenes, the demo's data set."""
