"""The format on disk, shared by the builder and the reader."""
