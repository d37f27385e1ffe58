"""Loads models of Hugging Face: where they run, and what a user is told if one can't be loaded."""

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarioclip_jax.annotate.models.protocols import ModelError

if TYPE_CHECKING:
    import torch

INSTALL = "pip install 'scenarioclip_jax[annotate]'"


def require(package: str, model: str) -> Any:
    """Imports a package of the extra `annotate` that a model needs.

    Raises:
      ModelError: It isn't installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModelError(
            f"{model}: this needs {package}, which isn't installed: {INSTALL}"
        ) from None


def device() -> "torch.device":
    """Where this process's models run: a GPU, Apple's GPU, or the CPU.

    Of several visible GPUs (CUDA_VISIBLE_DEVICES), LOCAL_RANK says which one; torchrun sets it.
    """
    import torch

    if torch.cuda.is_available():
        rank = int(os.environ.get("LOCAL_RANK") or 0)
        return torch.device("cuda", rank % torch.cuda.device_count())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def source(model: str, revision: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` for a name on the hub or a folder, which has no revisions."""
    arguments: dict[str, Any] = {"pretrained_model_name_or_path": model}
    if revision and not Path(model).is_dir():
        arguments["revision"] = revision
    return arguments


def load(auto: str, model: str, revision: str, **arguments: Any) -> Any:
    """Calls `from_pretrained` of a class of transformers.

    Args:
      auto: Name of the class.
      model, revision: A name on the hub and its revision, or a folder.
      **arguments: Further arguments.

    Raises:
      ModelError: PyTorch or another package isn't installed, or the weights can't be had or
        aren't of this kind.
    """
    require("torch", model)
    transformers = require("transformers", model)
    try:
        return getattr(transformers, auto).from_pretrained(**source(model, revision), **arguments)
    except ImportError as error:  # such as torchvision, which some models' processors need
        sentence = first_line(error).partition(". ")[0]
        raise ModelError(f"{model}: {sentence}: {INSTALL}") from error
    except OSError as error:
        raise ModelError(
            f"{model}: can't be loaded: {first_line(error)} Give a folder with the weights or a name on the "
            "Hugging Face hub; for a gated model accept its terms there and run `hf auth login`; without a "
            "network, download it first: `hf download`"
        ) from error
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"{model}: isn't a model that {auto} loads: {first_line(error)} Check the name or folder, and that "
            "it is a model of this stage's kind"
        ) from error


def load_network(auto: str, model: str, revision: str, dtype: "torch.dtype") -> Any:
    """Loads a network for inference onto this process's device, in that precision.

    Raises:
      ModelError: As `load`, or some of the weights aren't there. The library would draw them at random.
    """
    network, found = load(auto, model, revision, dtype=dtype, output_loading_info=True)
    parameters = {name for name, _ in network.named_parameters()}
    if missing := sorted(parameters & set(found["missing_keys"])):
        raise ModelError(
            f"{model}: {len(missing)} of the weights of {type(network).__name__} are missing, the first "
            f"{missing[0]}: check that the download is complete, and that the model is of this stage's kind"
        )
    return network.to(device()).eval()


def load_image_settings(model: str, revision: str) -> dict[str, Any]:
    """How a model wants its photos: what its preprocessor_config.json or processor_config.json says.

    Raises:
      ModelError: There is no such file.
    """
    from transformers.models.auto.image_processing_auto import get_image_processor_config

    settings = get_image_processor_config(**source(model, revision))
    if not settings.get("image_mean") or not settings.get("image_std"):
        raise ModelError(
            f"{model}: has no preprocessor_config.json with image_mean and image_std; take the folder or the "
            "name on the hub that the model was published as"
        )
    return settings


def first_line(error: BaseException) -> str:
    """An error's message, without what libraries add to it, or its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
