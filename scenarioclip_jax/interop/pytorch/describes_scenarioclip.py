"""What a model says of photos and of boxes in them, with the help of its processor."""


class Describes:
    """Methods of `ScenarioCLIPModel` that take photos instead of tensors."""

    def encode_objects(self, photo, boxes, processor):
        """Embeds objects of one photo, by their boxes [N, 4]: x0, y0, x1, y1 in its pixels; [N, embed_dim].

        Args:
          photo: Anything that the processor opens.
          processor: What AutoProcessor reads from the same folder.
        """
        return self._encode_parts(photo, boxes, "object", processor)

    def encode_relations(self, photo, pairs, processor):
        """Embeds relations of one photo, by the boxes [N, 2, 4] of both ends, whose order means nothing."""
        return self._encode_parts(photo, pairs, "relation", processor)

    def _encode_parts(self, photo, boxes, level, processor):
        inputs = processor(images=photo, boxes=boxes, level=level).to(self.device)
        return self.encode_image(**inputs, level=level).flatten(0, -2)

    def describe(self, photo, boxes=(), *, words, processor, names=None, **options):
        """Finds the actions of a photo, the names of objects in it and their relations.

            scene = model.describe("photo.jpg", boxes, words="words.json", processor=processor)
            print(scene)
            scene.draw("scene.png")  # needs matplotlib

        An action's or a name's score is its share in the softmax over all words of its kind. For two objects,
        all predicates in both directions compete, and a relation's score is its share among them times the
        scores of both names.

        Args:
          photo: Anything that the processor opens.
          boxes: The objects' boxes, [N, 4]: x0, y0, x1, y1 in pixels of the upright photo.
          words: The texts to choose from: a mapping, or a JSON file, with lists of `actions`, `objects` and
            `predicates`.
          processor: What AutoProcessor reads from the same folder.
          names: The objects' names, if they are known.
          options: A `detector` for photos without boxes, which looks for the words for objects: a name on the
            hub or a folder (Grounding DINO, MM-Grounding-DINO, LLMDet or OWL), with the least score of a box
            as `threshold` (0.25), or a function of a picture and names that returns boxes [N, 4]; the most
            `actions` (5) and `relations` (20); whether only the best relation of two objects is kept,
            `one_per_pair` (True); the most pairs that are asked about, `most_pairs` (100).

        Returns:
          The scene graph, with `actions`, `objects`, `relations`, `draw()`, `to_json()` and `to_networkx()`.
        """
        called = None if names is None else [names]
        graphs = self.describe_many(
            [photo], [boxes], words=words, processor=processor, names=called, **options
        )
        return next(graphs)

    def describe_many(self, photos, boxes=None, *, words, processor, **options):
        """Yields the scene graph of each photo, as `describe` finds it; each text is embedded once for all.

        Args:
          boxes: The boxes of each photo; None: all come from the detector, or there are none.
        """
        return processor.describe_many(self, photos, boxes, words=words, **options)
