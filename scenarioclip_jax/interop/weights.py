"""Named arrays in files from elsewhere, read one at a time on request, and checks of their content."""

import argparse
import contextlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from scenarioclip_jax import faults
from scenarioclip_jax.checkpoint import CheckpointError
from scenarioclip_jax.interop import known_files

Shapes = dict[str, tuple[int, ...]]
LISTED = 50  # most names of a kind that an error lists

# Safetensors and PyTorch file of a Hugging Face folder, each whole or as an index of shards.
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
TORCH_FILES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


class Weights(Mapping[str, np.ndarray]):
    """Arrays by name; `weights[name]` reads one, so a large file never has to fit into memory as a whole.

    Attributes:
      shapes: Shape of every array, known without reading it.
    """

    def __init__(self, shapes: Shapes, read: Callable[[str], np.ndarray]):
        self.shapes, self._read = shapes, read

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.shapes:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def renamed(self, rename: Callable[[str], str | None]) -> "Weights":
        """Returns the same arrays under other names, without those for which `rename` returns None."""
        names: dict[str, str] = {}
        for name in self:
            new = rename(name)
            if new in names:
                raise CheckpointError(
                    f"{names[new]} and {name} would both be {new}: the file holds two models; keep one of them"
                )
            if new is not None:
                names[new] = name
        return Weights(
            {new: self.shapes[name] for new, name in names.items()},
            lambda new: self._read(names[new]),
        )

    def astype(self, dtype) -> "Weights":
        """Returns the same arrays, converted to `dtype` when they are read; see `cast`."""
        return Weights(self.shapes, lambda name: cast(self._read(name), dtype, name))


def check_finite(value: np.ndarray, name: str, where: str | Path) -> np.ndarray:
    """Returns the array itself; raises CheckpointError that names it if it has NaN or infinite values."""
    if _finite(value):
        return value
    raise CheckpointError(
        f"{where}: {name} holds values that are NaN or infinite: the training diverged, or the file is "
        "damaged; use an earlier checkpoint, or copy the file again"
    )


def cast(value: np.ndarray, dtype: Any, name: str) -> np.ndarray:
    """Converts a finite array to another dtype; raises CheckpointError, naming it, if values are too large."""
    with np.errstate(over="ignore"):
        converted = value.astype(dtype, copy=False)
    if converted is value or _finite(converted):
        return converted
    largest = np.abs(value).max()
    raise CheckpointError(
        f"{name} holds {largest:g}, which {np.dtype(dtype).name} can't hold; use bfloat16 or float32"
    )


def _finite(value: np.ndarray) -> bool:
    if value.dtype.kind in "iub":
        return True
    # A sum is NaN or infinite if any term is, and is much faster, but its overflow alone proves nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(value.sum(dtype=np.float64))) or bool(np.isfinite(value).all())


LARGEST = {"depth": 1000}  # others up to a billion; anything larger is a damaged file


def check_sizes(sizes: Mapping[str, Any], where: str) -> None:
    """Raises CheckpointError for impossible fields of a tower, since they come from files."""
    for name, value in sizes.items():
        if name in ("activation", "pooling"):
            right, wanted = isinstance(value, str), "a name"
        elif name == "eps":
            right = (
                isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value < 1
            )
            wanted = "a number from 0 to 1"
        else:
            least, most = name not in ("stem_blocks", "eos_id"), LARGEST.get(name, 10**9)
            right = type(value) is int and least <= value <= most
            wanted = f"a whole number from {int(least)} to {most}"
        if not right:
            raise CheckpointError(f"{where}: {name} is {str(value)[:80]!r}; it must be {wanted}")


def check_names(found: Shapes, expected: Shapes, *, where: str, remedy: str) -> None:
    """Raises CheckpointError that lists arrays that are missing, unexpected or of a wrong shape, if any."""
    problems = {
        "missing": [f"{name} {expected[name]}" for name in expected if name not in found],
        "unexpected": [f"{name} {found[name]}" for name in found if name not in expected],
        "of another shape": [
            f"{name} is {found[name]}, expected {shape}"
            for name, shape in expected.items()
            if name in found and tuple(found[name]) != tuple(shape)
        ],
    }
    lines = []
    for kind, names in problems.items():
        if names:
            more = f"\n    and {len(names) - LISTED} more" if len(names) > LISTED else ""
            lines.append(f"  {kind} ({len(names)}):\n    " + "\n    ".join(names[:LISTED]) + more)
    if lines:
        raise CheckpointError("\n".join([f"{where}: these are not its parameters", *lines, remedy]))


def open_folder(folder: Path) -> Weights:
    """Opens the arrays of a Hugging Face folder: safetensors, else a PyTorch file; one file or shards.

    Raises:
      CheckpointError: There are no arrays, a file is damaged, or a shard is missing.
    """
    for name in (*SAFETENSORS, *TORCH_FILES):
        if (folder / name).is_file():
            break
    else:
        raise CheckpointError(
            f"{folder}: no weights in it, looked for {', '.join((*SAFETENSORS, *TORCH_FILES))}; "
            "give a folder that a Hugging Face model was saved to"
        )
    open_file = open_safetensors if ".safetensors" in name else open_torch
    if not name.endswith(".index.json"):
        return open_file(folder / name)
    index = read_json(folder / name)
    if not isinstance(index.get("weight_map"), dict):
        raise CheckpointError(f"{folder / name}: it has no `weight_map`; copy the file again")
    where = index["weight_map"]
    shards = {}
    for shard in sorted(set(where.values())):
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise CheckpointError(
                f"{folder / name}: its field weight_map names the file {shard!r}, which isn't beside it; "
                "copy the folder again, with all shards"
            )
        shards[shard] = open_file(folder / shard)
    absent = [name for name, shard in where.items() if name not in shards[shard]]
    if absent:
        raise CheckpointError(
            f"{folder / name}: {', '.join(absent[:LISTED])} not in the file that weight_map names; "
            "copy the folder again"
        )
    return Weights(
        {name: shards[shard].shapes[name] for name, shard in where.items()},
        lambda name: shards[where[name]][name],
    )


def open_safetensors(path: Path) -> Weights:
    """Opens the arrays of one safetensors file; raises CheckpointError if it is damaged."""
    try:
        path.open("rb").close()  # the library says of everything refused that there is no such file
        file = safe_open(path, framework="np")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        faults.refuse(error, path)
        with contextlib.suppress(OSError), path.open("rb") as start:
            if what := known_files.of_start(start.read(512)):
                raise CheckpointError(f"{path}: {what}") from None
        raise CheckpointError(
            f"{path}: not a complete safetensors file, {path.stat().st_size} bytes ({error}); "
            "copy or download it again"
        ) from None
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    return Weights(shapes, lambda name: check_finite(file.get_tensor(name), name, path))


def open_torch(path: Path) -> Weights:
    """Opens the tensors of a PyTorch file with a state_dict; raises CheckpointError if that fails."""
    return from_tensors(load_torch(path), where=str(path))


def from_tensors(state: Any, *, where: str) -> Weights:
    """Converts a state_dict of PyTorch tensors to NumPy arrays; raises CheckpointError if it isn't one."""
    import torch

    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(
            f"{where}: holds no state_dict of tensors, but {type(state).__name__}"
        )
    other = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if other:
        raise CheckpointError(
            f"{where}: not tensors: {', '.join(map(str, other[:LISTED]))}; a state_dict is expected"
        )

    def read(name: str) -> np.ndarray:
        tensor = state[name].detach().contiguous()
        if tensor.dtype == torch.bfloat16:  # NumPy has no bfloat16
            value = tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        else:
            value = tensor.numpy()
        # Copied, because a view would keep the whole file mapped.
        return check_finite(value.copy(), name, where)

    return Weights({name: tuple(value.shape) for name, value in state.items()}, read)


def load_torch(path: Path) -> Any:
    """Loads a PyTorch file: tensors, mapped rather than read, and plain values.

    Nothing else is ever built from the file, so it can't run code.

    Raises:
      CheckpointError: PyTorch isn't installed, or the file is damaged or holds objects of other classes.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if what := known_files.describe(path):
        raise CheckpointError(f"{path}: {what}")
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"{path}: a PyTorch file, and PyTorch isn't installed; pip install torch, or give safetensors"
        ) from None
    try:
        # Lightning stores command-line arguments in a Namespace, which has no behavior of its own.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
        what = f"objects of {', '.join(sorted(set(names)))}" if names else "something else"
        raise CheckpointError(
            f"{path}: refused, as it holds {what} besides tensors and plain values, and reading those could "
            "run code, or it is no PyTorch file. If you trust it, keep only the weights with "
            "c = torch.load(FILE, weights_only=False); "
            "torch.save({k: c[k] for k in ('state_dict', 'ema') if k in c}, 'weights.ckpt')"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        faults.refuse(error, path)
        raise CheckpointError(
            f"{path}: not a complete PyTorch file, {path.stat().st_size} bytes "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); copy it again"
        ) from None


def read_json(path: Path) -> dict:
    """Reads a JSON object; raises CheckpointError if there is none."""
    with contextlib.suppress(UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        try:
            values = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows writes a BOM
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointError(f"{path}: no such file") from None
        except OSError as error:
            faults.refuse(error, path)
            raise
        if isinstance(values, dict):
            return values
    what = known_files.describe(path)
    raise CheckpointError(f"{path}: not a JSON object; {what or 'copy the file again'}")
