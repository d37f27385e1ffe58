"""A photo in, its scene graph out: actions, names of objects, relations between them."""
