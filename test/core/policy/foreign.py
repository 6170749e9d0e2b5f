# SPDX-License-Identifier: Apache-2.0
"""Foreign checkpoints written for tests: by tensorstore in Orbax's form, by safetensors."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

FIXTURES = Path(__file__).parents[2] / "fixtures"
_OCDBT = {"max_inline_value_bytes": 1024, "max_decoded_node_bytes": 2000}


def official(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights by the authors' flat names, and the other arrays, of a fixture."""
    with np.load(FIXTURES / f"{name}.npz") as archive:
        arrays = dict(archive)
    weights = {k.removeprefix("P/"): v for k, v in arrays.items() if k.startswith("P/")}
    return weights, {k: v for k, v in arrays.items() if not k.startswith("P/")}


def write_npz(path: Path, weights: Mapping[str, np.ndarray]) -> Path:
    """Flat names."""
    np.savez(path, **weights)
    return path


def write_orbax(
    folder: Path,
    weights: Mapping[str, np.ndarray],
    *,
    ocdbt: bool = True,
    value: bool = False,
    driver: str = "zarr",
    packed: bool = True,
    split: int = 1,
    processes: int = 1,
) -> Path:
    """A ``params`` folder as Orbax writes it.

    Args:
        value: leaves end in ``value``, as openpi's training code has them.
        packed: compressed with zstd.
        split: chunks along each of the last two axes.
        processes: folders of their own, merged at the end (OCDBT only).
    """
    context = tensorstore.Context({"cache_pool#ocdbt": {"total_bytes_limit": 100_000_000}})
    folder.mkdir(parents=True)
    for number, (name, array) in zip(itertools.count(), weights.items(), strict=False):
        leaf = ".".join(["params", *name.split("/"), *(["value"] if value else [])])
        chunks = list(array.shape)
        for axis in range(max(0, array.ndim - 2), array.ndim):
            chunks[axis] = max(1, -(-chunks[axis] // split))
        place = folder / f"ocdbt.process_{number % processes}" if processes > 1 else folder
        kvstore: dict[str, Any] = {"driver": "file", "path": f"{folder}/{leaf}/"}
        if ocdbt:
            kvstore = _ocdbt(place) | {"path": f"{leaf}/"}
        spec = {
            "driver": driver,
            "kvstore": kvstore,
            "metadata": _metadata(array, chunks, driver, packed),
        }
        store = tensorstore.open(spec, create=True, context=context).result()
        store.write(array).result()
    if processes > 1:
        _merge(folder, processes, context)
    (folder / "_METADATA").write_text(json.dumps({"use_ocdbt": ocdbt}))
    return folder


def _ocdbt(folder: Path) -> dict[str, Any]:
    files = {"driver": "file", "path": f"{folder}/"}
    return {
        "driver": "ocdbt",
        "base": files,
        "cache_pool": "cache_pool#ocdbt",
        "config": _OCDBT,
    }


def _metadata(array: np.ndarray, chunks: list[int], driver: str, packed: bool) -> dict[str, Any]:
    if driver == "zarr":
        compressor = {"id": "zstd"} if packed else None
        code = "bfloat16" if array.dtype.name == "bfloat16" else array.dtype.str
        return {"shape": array.shape, "chunks": chunks, "dtype": code, "compressor": compressor}
    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    sharding = {"chunk_shape": chunks, "codecs": codecs + ([{"name": "zstd"}] if packed else [])}
    return {
        "shape": array.shape,
        "data_type": array.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }


def _merge(folder: Path, processes: int, context: Any) -> None:
    """As Orbax merges the folders of its processes: keys only, the data stays where it is."""

    def opened(path: Path) -> Any:
        spec = _ocdbt(path) | {"config": {**_OCDBT, "manifest_kind": "single"}}
        spec |= {"assume_config": True}
        return tensorstore.KvStore.open(tensorstore.KvStore.Spec(spec), context=context).result()

    parent, transaction = opened(folder), tensorstore.Transaction(atomic=True)
    for number in range(processes):
        spec = tensorstore.KvStore.Spec(
            {k: v for k, v in _ocdbt(folder / f"ocdbt.process_{number}").items() if k != "config"}
        )
        child = tensorstore.KvStore.open(spec, context=context).result()
        child.experimental_copy_range_to(parent.with_transaction(transaction)).result()
    transaction.commit_async().result()
