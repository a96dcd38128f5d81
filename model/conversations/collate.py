"""From encoded samples to one batch of tensors, in one of two layouts.
Rows: turns follow one another. Turns: a shared prefix and then turns of equal length that do not see each other."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from data_registry.errors import InputError
from model.conversations.samples import EncodedSample

ROUND = 8  # turns are padded to a multiple of this

ImageLookup = Callable[[Sequence[str]], dict[str, Any]]


class Collator:
    """Builds batches for `SpatialLLMForConditionalGeneration`.

    Args:
        pad_token_id: fills rows and turns up; never a target.
        images: from image keys to {"pixel_values": ...} or {"image_features": ...}.
        turns_alike: every turn weighs the same in the loss, however many targets it has; a letter would otherwise
            drown among sentences. Adds `label_weights` (k,) to a batch.

    A batch has sample_ids (for errors), tokens (how many, without padding), input_ids (n, L), `labels` (k,) and
    `label_positions` (k,): the k targets and the flat index (row * L + column) of the hidden state that predicts each,
    so that the LM head runs on those alone; for turns also position_ids (1, L), prefix_length and turns. Padding comes
    after all else, where a causal model sees it from nowhere: there is no mask, which would keep GPUs from their
    fastest attention.
    """

    def __init__(self, pad_token_id: int, images: ImageLookup | None, turns_alike: bool = False):
        self.pad, self.images, self.turns_alike = pad_token_id, images, turns_alike

    def __call__(self, samples: Sequence[EncodedSample]) -> dict[str, Any]:
        isolated = {sample.isolated for sample in samples}
        if len(isolated) > 1:
            raise InputError("a batch mixes isolated and following turns; encode all samples alike")
        batch = self._turns(samples) if isolated.pop() else self._rows(samples)
        keys = [sample.image for sample in samples if sample.image is not None]
        if keys:
            batch.update(self.images(keys))
        if self.turns_alike:
            counts = torch.tensor([sum(turn.targets) for sample in samples for turn in sample.turns])
            counts = counts[counts > 0]
            batch["label_weights"] = (1 / counts).repeat_interleave(counts)
        batch["sample_ids"] = [sample.id for sample in samples]
        batch["tokens"] = sum(len(sample.prefix) + sum(len(turn.ids) for turn in sample.turns) for sample in samples)
        return batch

    def _rows(self, samples: Sequence[EncodedSample]) -> dict[str, Any]:
        rows = []
        for sample in samples:
            ids, flags = list(sample.prefix), [False] * len(sample.prefix)
            for turn in sample.turns:
                ids += turn.ids
                flags += turn.targets
            rows.append((ids, flags))
        length = max(len(ids) for ids, _ in rows)
        input_ids = torch.full((len(rows), length), self.pad)
        labels, positions = [], []
        for r, (ids, flags) in enumerate(rows):
            input_ids[r, : len(ids)] = torch.tensor(ids)
            for c, (token, flag) in enumerate(zip(ids, flags, strict=True)):
                if flag:
                    labels.append(token)
                    positions.append(r * length + c - 1)
        return {
            "input_ids": input_ids,
            "labels": torch.tensor(labels),
            "label_positions": torch.tensor(positions),
        }

    def _turns(self, samples: Sequence[EncodedSample]) -> dict[str, Any]:
        p = len(samples[0].prefix)
        if any(len(sample.prefix) != p for sample in samples):
            raise InputError("a batch of isolated turns mixes samples with and without image; group by modality")
        turns = max(len(sample.turns) for sample in samples)
        own = max(len(turn.ids) for sample in samples for turn in sample.turns)
        # A few shapes instead of one per length: oneDNN builds its kernels anew for each, a quarter of a tiny step.
        own += -own % ROUND
        length = p + turns * own
        input_ids = torch.full((len(samples), length), self.pad)
        labels, positions = [], []
        for r, sample in enumerate(samples):
            input_ids[r, :p] = torch.tensor(sample.prefix)
            for t, turn in enumerate(sample.turns):
                start = p + t * own
                input_ids[r, start : start + len(turn.ids)] = torch.tensor(turn.ids)
                for c, (token, flag) in enumerate(zip(turn.ids, turn.targets, strict=True)):
                    if flag:
                        labels.append(token)
                        # A turn's first token is predicted by the prefix's last one.
                        positions.append(r * length + (start + c - 1 if c else p - 1))
        position_ids = torch.cat([torch.arange(p), (p + torch.arange(own)).repeat(turns)])
        return {
            "input_ids": input_ids,
            "position_ids": position_ids[None],
            "labels": torch.tensor(labels),
            "label_positions": torch.tensor(positions),
            "prefix_length": p,
            "turns": turns,
        }
