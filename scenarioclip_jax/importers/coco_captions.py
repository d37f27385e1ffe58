"""COCO's captions for photos of other data sets, which are COCO's by their ids."""

from collections.abc import Iterable

from scenarioclip_jax.importers import json_stream
from scenarioclip_jax.importers.index import Index
from scenarioclip_jax.importers.source import Run, SourceError
from scenarioclip_jax.storage.cache import local_copy


def add_coco_captions(index: Index, names: Iterable[str], run: Run) -> None:
    """Puts the captions of COCO's files into an index, as kind "caption" by COCO's image id.

    Raises:
      SourceError: A file can't be read, or isn't one of captions.
    """
    for name in names:
        path = local_copy(name)
        run.files.append(str(path))
        found = run.dicts(json_stream.items(path, "annotations.item"), f"{path.name} annotations")
        found = run.progress(found, f"captions of {path.name}", "captions")
        empty = True
        for annotation in found:
            if "caption" not in annotation:
                raise SourceError(
                    f"--coco-captions={path} isn't a captions file: its annotations have "
                    f"{', '.join(sorted(annotation))}; name captions_train2017.json or the like"
                )
            index.add("caption", int(annotation["image_id"]), annotation["caption"])
            empty = False
        if empty:
            raise SourceError(
                f"--coco-captions={path} has no annotations; name COCO's captions file"
            )
