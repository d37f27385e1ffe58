"""Finds the focused regions of a record's relations, and reduces them to the smallest form."""

from collections import Counter

import numpy as np
from PIL import Image

from scenarioclip_jax.data.build import focus_evidence, focus_mistakes, focus_parts, photo_files
from scenarioclip_jax.data.build.focus import FocusFit, fit_focus
from scenarioclip_jax.data.build.participants import Candidates, Object, candidates, nearest
from scenarioclip_jax.data.build.photo_files import Photo
from scenarioclip_jax.data.build.photo_folders import Folders, PhotoError
from scenarioclip_jax.data.build.problems import DROPPED, FIXED, GUESSED, KEPT, Problems
from scenarioclip_jax.data.build.records import Box, Record, RelationRecord
from scenarioclip_jax.data.stored import masks
from scenarioclip_jax.data.stored.labels import relation_text
from scenarioclip_jax.data.stored.scene import Relation

_NOT_SHOWN = {
    "empty": ("focus_empty", "is black"),
    "photo": ("focus_is_photo", "shows the whole photo"),
    "unlike": ("focus_unlike_photo", "doesn't show this photo"),
}


class RelationPlacer:
    """Makes the relations of a photo."""

    def __init__(
        self,
        record: Record,
        objects: list[Object],
        shapes: list[np.ndarray | None],
        photo: Photo,
        folders: Folders,
        problems: Problems,
        focus_kinds: Counter[str],
    ):
        self._record, self._objects, self._photo = record, objects, photo
        self._shapes = shapes
        usable = [index for index, each in enumerate(objects) if each]
        self._place = {index: place for place, index in enumerate(usable)}
        self._folders, self._problems, self._kinds = folders, problems, focus_kinds
        # Focused-region images that are named for different participants, although they can show only one pair.
        users: dict[str, set[tuple[str, str]]] = {}
        for relation in record.relations:
            subject, _, object_ = relation.triplet
            users.setdefault(relation.focus_path, set()).add((subject, object_))
        self._shared = {path for path, pairs in users.items() if path and len(pairs) > 1}

    def relation(self, index: int) -> Relation | None:
        """Returns a relation with its focused region, or None if its place is unknown."""
        relation = self._record.relations[index]
        where = f"{self._record.where}.relations[{index}]"
        meant = candidates(relation, self._objects)
        encoded, fit, reason, detail = b"", None, "", ""
        try:
            focus, encoded = self._open_focus(relation.focus_path)
            fit = fit_focus(self._photo.picture, focus, meant.pairs)
            if fit.kind not in ("boxes", "mask"):  # those show the photo as it is
                focus, mistake = focus_mistakes.undo(self._photo.picture, focus)
                if mistake:
                    encoded = photo_files.encode(focus, "JPEG")
                    fit = fit_focus(self._photo.picture, focus, meant.pairs)
                    self._say_mistake(relation, mistake, where)
            if fit.kind in _NOT_SHOWN:
                reason, said = _NOT_SHOWN[fit.kind]
                detail = f"{relation.focus_path!r} {said}"
            elif relation.focus_path in self._shared and fit.kind != "boxes" and meant.pairs:
                reason = "focus_shared"
                detail = f"{relation.focus_path!r} is named for other participants too, and fits these less"
        except PhotoError as error:
            reason, detail = error.reason.replace("image", "focus"), str(error)
        if reason or fit is None:
            fit = self._rebuilt(relation, meant, where, reason, detail)
            if fit is None:
                return None
        elif fit.kind == "image" and meant.ambiguous and fit.style in ("crop", "other"):
            self._say_guess(relation, meant, where, "the focused-region image doesn't tell which")
        elif fit.pair >= 0:
            self._check_shown(relation, fit, focus, meant.pairs[fit.pair], where)
        self._kinds[fit.kind] += 1
        if fit.kind == "image":
            self._problems.focus_styles[fit.style] += 1
        boxes = meant.pairs[fit.pair] if fit.pair >= 0 else self._ungrounded(relation, fit)
        image = encoded if fit.kind == "image" else b""
        negatives, paraphrases = _texts(self._record, index, self._problems)
        pair = None
        if fit.pair >= 0:
            subject, object_ = meant.indices[fit.pair]
            pair = self._place[subject], self._place[object_]
        return Relation(
            relation.triplet,
            np.array(boxes, np.float32),
            fit.mask,
            image,
            negatives,
            pair,
            paraphrases,
        )

    def _rebuilt(
        self, relation: RelationRecord, meant: Candidates, where: str, reason: str, detail: str
    ) -> FocusFit | None:
        """Makes the region from the participants' masks or boxes; None if they are unknown.

        The relation is then left out.
        """
        unnamed = not relation.focus_path
        id = self._record.id
        if not meant.pairs:
            detail += ", and not both of its participants are among the objects"
            self._problems.add(reason, DROPPED, "relation", where, detail, id)
            return None
        if meant.alone:
            detail += (
                f", and only one {relation.triplet[0]!r} is annotated, so its partner isn't known"
            )
            self._problems.add("ambiguous_participants", DROPPED, "relation", where, detail, id)
            return None
        if meant.ambiguous:
            self._say_guess(relation, meant, where, detail)
        elif not unnamed:
            detail += "; rebuilt from its participants"
            self._problems.add(reason, FIXED, "relation", where, detail, id)
        if unnamed:
            self._problems.unnamed_focus += 1
        pair = nearest(meant.pairs)
        shapes = [self._shapes[i] for i in meant.indices[pair]]
        if shapes[0] is None or shapes[1] is None:
            return FocusFit("boxes", pair, b"", (0, 0, 0, 0), 0.0)
        return FocusFit("mask", pair, masks.encode(shapes[0] | shapes[1]), (0, 0, 0, 0), 0.0)

    def _check_shown(
        self,
        relation: RelationRecord,
        fit: FocusFit,
        focus: Image.Image,
        pair: tuple[Box, Box],
        where: str,
    ) -> None:
        names = [relation.triplet[0], relation.triplet[2]]
        if doubt := focus_parts.doubt(fit, self._photo.picture, focus, names, pair):
            detail = (
                f"{relation.focus_path!r} {doubt}; is it another relation's, or are the boxes other things'? "
                'Kept; to have it made from the boxes, leave its path empty ("")'
            )
            self._problems.add("focus_elsewhere", KEPT, "relation", where, detail, self._record.id)

    def _say_mistake(self, relation: RelationRecord, mistake: str, where: str) -> None:
        detail = (
            f"{relation.focus_path!r} is the photo's {mistake}; undone. Write it as the photo is"
        )
        self._problems.add("focus_altered", FIXED, "relation", where, detail, self._record.id)

    def _say_guess(
        self, relation: RelationRecord, meant: Candidates, where: str, detail: str
    ) -> None:
        counts = {relation.triplet[0]: meant.subjects, relation.triplet[2]: meant.objects}
        several = " and ".join(f"{n} x {name!r}" for name, n in counts.items() if n > 1)
        self._problems.add(
            "ambiguous_participants",
            GUESSED,
            "relation",
            where,
            f"{detail}; the photo has {several}, and which of them is meant was guessed (the nearest). Say it "
            "by a fourth entry of the relation, [subject_index, object_index], or by the fields subject and "
            "object; they count from 0 in objects",
            self._record.id,
        )

    def _open_focus(self, path: str) -> tuple[Image.Image, bytes]:
        """Returns a focused-region image, rotated like its photo, decoded and encoded."""
        if not path:
            raise PhotoError("missing_image", "no focused-region image is named")
        # Scaled like the photo, if that has more than 8 bits.
        photo = self._photo
        focus = photo_files.open_photo(self._folders, path, backdrop="black", levels=photo.levels)
        # A tool that ignores EXIF rotation cuts its focused regions from the stored image.
        if photo.orientation != 1 and focus.orientation == 1:
            turned = photo_files.turn_like(focus.picture, photo.orientation)
            if focus_evidence.better_turned(photo.picture, focus.picture, turned):
                return turned, photo_files.encode(turned, "JPEG")
        return focus.picture, focus.encoded

    def _ungrounded(self, relation: RelationRecord, fit: FocusFit) -> tuple[Box, Box]:
        """Boxes of a relation whose participants aren't both objects; the visible part replaces them."""
        if relation.pair is not None:
            subject, object_ = (self._objects[index] for index in relation.pair)
            extent = fit.extent
            return subject[1] if subject else extent, object_[1] if object_ else extent
        known = dict(reversed([each for each in self._objects if each]))
        first, _, second = relation.triplet
        return known.get(first, fit.extent), known.get(second, fit.extent)


def _texts(
    record: Record, index: int, problems: Problems
) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    """Returns the negatives of a relation that aren't true of the same photo, and its paraphrases."""
    true = {relation.triplet for relation in record.relations}
    said = {text for relation in record.relations for text in relation.paraphrases}
    negatives = []
    for negative in record.relations[index].negatives:
        if negative in true or relation_text(negative) in said:
            where = f"{record.where}.relations[{index}]"
            detail = f"{' '.join(negative)!r} is a relation of this photo, so no negative of it"
            problems.add("negative_is_true", DROPPED, "negative", where, detail, record.id)
        else:
            negatives.append(negative)
    return negatives, record.relations[index].paraphrases
