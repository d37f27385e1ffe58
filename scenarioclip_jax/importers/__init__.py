"""Other people's data sets in, records of our metadata format out; and back.

    python -m scenarioclip_jax.importers coco --instances FILE --output DIR

A source is one module of `sources`, a way back is one of `exports`; the command finds them there. What all of
them share is in this folder: `draft` makes a record and checks it, `output` writes the folder, `problems`
counts what is left out, `index` joins files that are sorted differently, `json_stream` reads JSON that
doesn't fit into memory.
"""
