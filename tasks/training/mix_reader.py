"""The conversations of a mix of data sets: which share of each is read, and in which rows."""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_registry import conversations, mix
from tasks.identity import manifest
from tasks.stage.harness import StageRun

if TYPE_CHECKING:
    from model.conversations.samples import Conversation


def folders(run: StageRun, slot: str) -> list[Path]:
    """The folders of a slot that holds one or several stage runs."""
    value = run.inputs[slot]
    return value if isinstance(value, list) else [value]


def read_conversations(
    run: StageRun, fraction: float = 1.0, mixed: Mapping[str, mix.Amount] | None = None
) -> "list[Conversation]":
    """The conversations of a stage's data sets, in their order.

    Args:
        fraction: share of each data set; a smaller share is part of every larger one, whatever the order of the file.
        mixed: by data set how much of it instead, see `data_registry.mix`.
    """
    from model.conversations.samples import Conversation

    kept = []
    mixed, where = mixed or {}, f"params.yaml: {run.stage}.{run.scale}.mix"
    mix.check(mixed, [folder.name for folder in folders(run, "data")], where)
    for folder in folders(run, "data"):
        path = folder / "conversations.parquet"
        taken = _taken(run, folder.name, conversations.ids(path), fraction, mixed)
        for record, wanted in zip(conversations.read(path), taken, strict=True):
            if wanted:
                kept.append(Conversation.from_llava(record["id"], record["image"], record["conversations"]))
        run.recorder.dataset(folder.name, manifest.read_manifest(folder)["content"], int(sum(taken)))
    return kept


def _taken(
    run: StageRun, name: str, ids: Sequence[str], fraction: float, mixed: Mapping[str, mix.Amount]
) -> Sequence[bool]:
    """Which samples of a data set are read: `mix`, else `fraction` of params.yaml, and of that the design's share.

    Samples are chosen by their ids' hash in both, so that a smaller part lies within every larger one.
    """
    share = (run.parts.get("shares") or {}).get(name, 1.0)
    if name in mixed:
        amount = mixed[name]
        part = max(1, round(amount * share)) if isinstance(amount, int) else amount * share
        return mix.chosen(ids, part, f"params.yaml: {run.stage}.{run.scale}.mix.{name}").tolist()
    return [fraction * share == 1 or _chance(id_) < fraction * share for id_ in ids]


def _chance(id: str) -> float:
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8]) / 2**64


def regroup(conversations: "Iterable[Conversation]", turns: int) -> "list[Conversation]":
    """Conversations with `turns` turns each, as far as their image has them; for isolated turns only.

    Turns that do not see each other may share a row whatever sample they came from, and an image is then computed
    once for all of them. Turns of similar length go to the same row, where all are padded to the longest.
    """
    from model.conversations.samples import Conversation

    by_image: dict[str | None, list[tuple[str, tuple[str, str]]]] = defaultdict(list)
    for conversation in conversations:
        by_image[conversation.image] += [(conversation.id, turn) for turn in conversation.turns]
    rows = []
    for image, all_turns in by_image.items():
        parts = -(-len(all_turns) // turns)
        all_turns.sort(key=lambda entry: sum(map(len, entry[1])))
        bounds = [round(len(all_turns) * part / parts) for part in range(parts + 1)]
        for start, end in itertools.pairwise(bounds):
            chosen = all_turns[start:end]
            ids = list(dict.fromkeys(id for id, _ in chosen))
            rows.append(Conversation("+".join(ids), image, tuple(turn for _, turn in chosen)))
    return rows
