"""One module for each data set that can be imported. Each has a `SOURCE`, which the command finds."""
