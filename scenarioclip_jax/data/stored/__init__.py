"""What is on disk, known to the builder and to the reader alike."""
