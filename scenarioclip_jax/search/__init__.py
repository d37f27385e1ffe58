"""Search in one's own photos: by words, by a photo, or by a region of one."""
