"""One module for each format that metadata can be written in. Each has an `EXPORT`, which the command finds."""
