"""The drawn scenes, which are the demo's data set."""
