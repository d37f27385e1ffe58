"""An index and its model: embeddings of different models can't be compared."""

from scenarioclip_jax.evaluation.embed.cache import digest, params_digest
from scenarioclip_jax.inference import Model
from scenarioclip_jax.search.store import AlbumError, Store


def same_model(store: Store, model: Model, name: str) -> None:
    """Notes a new index's model; raises AlbumError if the index was made by another one."""
    own, known = model_digest(model), store.facts().get("model_digest")
    if known is None:
        store.note({"model_digest": own})
    elif known != own:
        raise AlbumError(
            f"{name}: isn't the model that made {store.file.parent}, so their embeddings can't be compared; "
            "give that model, or index the photos again in another folder"
        )


def model_digest(model: Model) -> str:
    """A digest of what a model's embeddings depend on: its parameters, and how pictures are prepared."""
    how = model.spec.fit, model.spec.region_style, bool(model.spec.model.get("patch_packing"))
    return digest(params_digest(model.params), how)
