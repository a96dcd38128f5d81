"""Pictures of scenes and data sets that stay on S3: an index in the stage's output, shards that come when read.
What they are is `given` (a digest), as for pictures on disk; where they lie and how much is cached is `runtime`."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_registry.cards.card import File
from data_registry.errors import InputError
from data_registry.storage import fetch, shards, streamed
from tasks.identity import manifest

CACHE = ".cache/shards"


def address(runtime: Mapping[str, Any], stage: str, name: str) -> streamed.Address:
    """Of a set's shards, from `runtime.<stage>.<name>` of params.yaml: pictures, and endpoint and signed if need be."""
    where = (runtime.get(stage) or {}).get(name) or {}
    key = f"params.yaml: runtime.{stage}.{name}"
    url = str(where.get("pictures") or "")
    if not url.startswith("s3://"):
        raise InputError(f"{key}.pictures: is {url!r}; of a set with `stream` it is s3://BUCKET/FOLDER, of its shards")
    return streamed.Address.parse(url, str(where.get("endpoint") or ""), bool(where.get("signed", True)))


def open_images(runtime: Mapping[str, Any], folders: Path | Sequence[Path]) -> shards.Images:
    """The images of published sets (`runs/<scale>/<stage>/<name>`), those on S3 through `runtime.shard_cache`."""
    settings = runtime.get("shard_cache") or {}
    budget = int(float(settings.get("budget_gb", 50)) * 2**30)
    cache = _cache(Path(str(settings.get("folder") or CACHE)).expanduser().absolute(), budget)

    def of_set(folder: Path) -> streamed.Address:
        return address(runtime, folder.parent.name, folder.name)

    return shards.Images(*([folders] if isinstance(folders, Path) else folders), cache=cache, address=of_set)


@lru_cache
def _cache(folder: Path, budget: int) -> streamed.ShardCache:
    """One in a process: what one reader asks for ahead, another must not push out."""
    return streamed.ShardCache(folder, budget)


def index(
    where: streamed.Address, out: Path, work: Path, progress: Callable[[int, int], None]
) -> dict[str, tuple[str, tuple[int, int]]]:
    """Look through all shards once and write what stands for them: an index and the images' digests.

    Args:
        work: where a shard lies while it is read; what a kill leaves there is gone on with.

    Returns:
        SHA-256 and (width, height) by image key.

    Raises:
        InputError: no shards there, a key twice, an image that does not decode or has another size than recorded.
    """
    source, names = where.source(), where.names()
    work = work / "shards"
    work.mkdir(parents=True, exist_ok=True)
    known: dict[str, tuple[str, tuple[int, int]]] = {}
    listed = []
    for done, name in enumerate(names, 1):
        for left in work.glob("images-*.parquet"):
            left.unlink()
        path = fetch.bring(source, File(name, None, None, where.key(name)), work)
        images = shards.Images(work)
        for key in images:
            if key in known:
                raise InputError(f"{where}/{name}: image key {key} occurs twice; keys must be unique")
            height, width, _ = images[key].shape
            known[key] = hashlib.sha256(images.encoded(key)).hexdigest(), (width, height)
        listed.append(streamed.Shard(name, path.stat().st_size, manifest.digest_of_file(path), len(images)))
        progress(done, len(names))
    shutil.rmtree(work)
    streamed.write_index(out, listed)
    digests = [sha256 for sha256, _ in known.values()]
    pq.write_table(pa.table({"image": list(known), "sha256": digests}), out / shards.DIGESTS)
    return known
