"""Both sides of the training benchmark learn the same: equal targets and equal loss in every optimizer step."""

from collections import Counter

import pytest
import torch

from benchmarks.training.case import SEED, in_our_order, padded, sequences
from model.export import to_llava
from model.training.batching import GroupedBatches
from tests.model.tiny_models import make_collator, make_model, make_samples, make_tokenizer

ROWS = 8


def test_both_sides_have_the_same_targets_and_loss_in_every_step():
    tokenizer = make_tokenizer()
    model = make_model(encoders=("clip",), tokenizer=tokenizer)
    llava, encoder = to_llava(model), model.encoders["clip"]
    pixels = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    samples = make_samples(model, tokenizer, count=3 * ROWS, blind_every=0)
    collate = make_collator(tokenizer, pixels)
    micro = list(GroupedBatches.of(samples, ROWS, 4, SEED))
    ordered = in_our_order(samples, ROWS)
    for step in range(3):
        ours = [collate([samples[k] for k in batch]) for batch in micro[2 * step : 2 * step + 2]]
        data = sequences(ordered[step * ROWS : (step + 1) * ROWS])
        theirs = [
            padded(data[at : at + 5], tokenizer.pad_token_id, lambda key: encoder.normalise(pixels[int(key[1:])][None]))
            for at in range(0, len(data), 5)
        ]
        targets = [Counter(torch.cat([b["labels"].flatten() for b in side]).tolist()) for side in (ours, theirs)]
        targets[1].pop(-100)
        assert targets[0] == targets[1]
        count = targets[0].total()
        with torch.no_grad():
            for batch in ours:
                del batch["sample_ids"], batch["tokens"]
            one = sum(model(**batch, num_items_in_batch=count).loss for batch in ours)
            other = sum(llava(**batch, num_items_in_batch=count).loss for batch in theirs)
        assert one.item() == pytest.approx(other.item(), rel=1e-3)  # our features of frozen encoders are fp16
