"""Training: order fixed by the seed, what is frozen stays, resume after kill -9 is bit for bit, faults are named."""

import itertools
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_registry.errors import InputError
from model.conversations.collate import Collator
from model.training.batching import GroupedBatches, cut_global_batch
from model.training.checkpoints import last_complete
from model.training.frozen import freeze_all_but
from model.training.optimizers import build_optimizer
from model.training.recipe import Machine, Monitor, Recipe, TrainingData
from model.training.trainer import train
from tests.model.tiny_models import make_collator, make_model, make_samples, make_tokenizer, train_tiny


def equal_weights(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def killed_run(work: Path, die_at: int, optimizer: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        f"from tests.model.tiny_models import train_tiny; from pathlib import Path\n"
        f"train_tiny(Path({str(work)!r}), {optimizer!r}, die_at={die_at})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("optimizer", ["muon+adamw", "adamw"])
def test_resume_after_kill_is_bit_for_bit(tmp_path, optimizer):
    unbroken, result = train_tiny(tmp_path / "whole", optimizer)
    assert result.resumed_from == 0 and result.steps == 14
    killed_run(tmp_path / "killed", 11, optimizer)
    kept = sorted(p.name for p in (tmp_path / "killed").glob("checkpoint-*"))
    assert kept == ["checkpoint-6", "checkpoint-9"]
    # The newest checkpoint is cut short, as if the kill had hit its writing: the one before it must serve.
    weights = tmp_path / "killed" / "checkpoint-9" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    resumed, result = train_tiny(tmp_path / "killed", optimizer)
    assert result.resumed_from == 6 and result.steps == 14
    assert equal_weights(unbroken, resumed)


TOGETHER = """
import os, sys
sys.path.insert(0, {here!r})
from pathlib import Path
import torch
from tests.model.tiny_models import train_tiny
from model.training.recipe import Machine
machine = Machine(
    per_device_batch=4, checkpoint_steps=3, log_steps=1, device="cpu", gradient_checkpointing={recompute}
)
model, result = train_tiny(Path({work!r}), "adamw", die_at={die_at}, machine=machine)
torch.save([result.resumed_from, model.state_dict()], {work!r} + "/end." + os.environ["RANK"])
"""


def by_two(work: Path, die_at: int | None = None, recompute: bool = False) -> tuple[int, dict]:
    """What two processes train together: the step they began at, and the first one's weights."""
    work.mkdir(exist_ok=True)
    script = work.with_suffix(".py")
    here = str(Path(__file__).parents[3])
    script.write_text(TOGETHER.format(here=here, work=str(work), die_at=die_at, recompute=recompute))
    local = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2", "--monitor-interval", "0.1"]
    command = [sys.executable, "-m", "torch.distributed.run", *local, str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == (die_at is None), done.stderr[-4000:]
    return torch.load(work / "end.0") if die_at is None else (0, {})


@pytest.mark.slow
def test_two_processes_resume_in_a_later_epoch_in_its_own_order(tmp_path):
    _, unbroken = by_two(tmp_path / "whole")
    by_two(tmp_path / "killed", die_at=11)
    resumed_from, resumed = by_two(tmp_path / "killed")
    assert resumed_from == 9, "of 14, 7 in each epoch"
    assert all(torch.equal(weight, unbroken[name]) for name, weight in resumed.items())


@pytest.mark.slow
def test_two_processes_recompute_activations_of_batches_without_images_too(tmp_path):
    """Those give the connector no gradient, for which neither process may wait."""
    _, kept = by_two(tmp_path / "kept")
    _, recomputed = by_two(tmp_path / "recomputed", recompute=True)
    for name, weight in recomputed.items():
        torch.testing.assert_close(weight, kept[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("checkpoint_steps", [0, 4])
def test_a_stopped_training_is_part_of_the_whole_one(tmp_path, checkpoint_steps):
    machine = Machine(per_device_batch=4, checkpoint_steps=checkpoint_steps, log_steps=2, device="cpu")
    lines: dict[str, dict[int, float]] = {"whole": {}, "parts": {}}

    def train_part(folder: str, **kwargs):
        def log(step, values):
            lines[folder][step] = values["loss"]

        return train_tiny(tmp_path / folder, machine=machine, on_log=log, **kwargs)

    whole, _ = train_part("whole")
    begun, first = train_part("parts", frac=0.5)
    assert first.steps == 10, "7 of 14, and on to the end of a line of the log"
    assert max(lines["parts"]) == 10
    assert not equal_weights(begun, whole)
    again, second = train_part("parts", frac=0.5)  # killed before it was published: its end is there already
    assert second == replace(first, seconds=second.seconds, resumed_from=10)
    assert equal_weights(again, begun)
    resumed, third = train_part("parts")
    assert (third.resumed_from, third.steps) == (10, 14)
    assert equal_weights(resumed, whole)
    assert lines["parts"] == lines["whole"]


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 4), (1.5, 11), (2, 14)])
def test_an_ended_training_is_not_gone_on_with(tmp_path, epochs, steps):
    """Killed after its last checkpoint and before it was published: no step is added, wherever in an epoch it ends."""
    recipe = Recipe(lr=1e-3, min_lr=5e-4, global_batch=8, epochs=epochs)
    logged: list[int] = []
    ended, first = train_tiny(tmp_path, recipe=recipe)
    again, second = train_tiny(tmp_path, recipe=recipe, on_log=lambda step, values: logged.append(step))
    assert first.steps == steps and not logged
    assert second == replace(first, seconds=second.seconds, resumed_from=steps)
    assert equal_weights(ended, again)


def test_checkpoint_without_marker_is_removed(tmp_path):
    train_tiny(tmp_path)
    newest = last_complete(tmp_path)
    assert newest.name == "checkpoint-14"
    (newest / "COMPLETE.json").unlink()
    assert last_complete(tmp_path).name == "checkpoint-12"
    assert not newest.exists()


def test_batch_per_device_changes_only_rounding(tmp_path):
    results = []
    for size in (8, 2):
        recipe = Recipe(lr=1e-3, global_batch=8, bf16=False, epochs=0.5)
        machine = Machine(per_device_batch=size, device="cpu")
        results.append(train_tiny(tmp_path / str(size), recipe=recipe, machine=machine)[0])
    for (name, one), other in zip(results[0].named_parameters(), results[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize(
    ("switch", "tolerance"), [({"gradient_checkpointing": True}, 1e-5), ({"workers": 2}, 0), ({"bf16": True}, 2e-2)]
)
def test_how_it_is_computed_changes_no_loss(tmp_path, switch, tolerance):
    def curve(**switches):
        recipe = Recipe(lr=1e-3, global_batch=8, epochs=1, bf16=switches.pop("bf16", False))
        machine = Machine(per_device_batch=4, log_steps=1, device="cpu", **switches)
        losses = []
        train_tiny(tmp_path, recipe=recipe, machine=machine, on_log=lambda step, values: losses.append(values["loss"]))
        return losses

    assert curve(**switch) == pytest.approx(curve(), rel=tolerance)


@pytest.mark.parametrize("optimizer", ["adamw", "muon+adamw"])
def test_a_cosine_may_end_above_zero(tmp_path, optimizer):
    rates = []
    recipe = Recipe(lr=1e-3, muon_lr=1e-3, min_lr=2e-4, optimizer=optimizer, global_batch=8, warmup=0.0)
    train_tiny(tmp_path, recipe=recipe, on_log=lambda step, values: rates.append(values["learning_rate"]))
    expected = [2e-4 + 8e-4 * (1 + math.cos(math.pi * step / 7)) / 2 for step in range(7)]
    assert rates == pytest.approx(expected)


def test_fused_adamw_steps_as_the_plain_one():
    found = []
    for make in (
        lambda model: build_optimizer(model, "adamw", 1e-2),
        lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0, fused=False),
    ):
        torch.manual_seed(2)
        model = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.Linear(5, 5))
        optimizer = make(model)
        for p in model.parameters():
            p.grad = torch.randn(p.shape)
        optimizer.step()
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("stage", [1, 2])
def test_what_is_frozen_stays_without_gradients(tmp_path, stage):
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    trained = [model.connector] if stage == 1 else [model.connector, model.language_model]
    freeze_all_but(model, *trained)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    collate = make_collator(tokenizer, torch.rand(6, 3, 32, 32))
    train(
        model, TrainingData(make_samples(model, tokenizer, blind_every=4 if stage == 2 else 0), collate),
        Recipe(lr=1e-2, global_batch=8), tmp_path, 0, Machine(device="cpu"),
    )  # fmt: skip
    for name, p in model.named_parameters():
        moves = name.startswith("connector") or (stage == 2 and name.startswith("language_model"))
        assert torch.equal(p, before[name]) != moves, name
        assert moves or p.grad is None


def test_loss_falls_and_is_logged(tmp_path):
    lines = []
    _, result = train_tiny(tmp_path, on_log=lambda step, values: lines.append((step, values)))
    assert [step for step, _ in lines] == list(range(1, 15))
    assert result.loss < lines[0][1]["loss"] * 0.8
    assert lines[-1][1]["learning_rate"] < lines[7][1]["learning_rate"]
    for _, values in lines:
        assert values["system/samples_per_second"] > 0
        assert values["system/tokens_per_second"] > 10 * values["system/samples_per_second"]
        assert 0 < values["system/data_wait_share"] < 1
        assert 0.1 < values["system/peak_memory_gib"] < 24
        assert "system/mfu" not in values, "no GPU, no utilisation"


def test_sample_that_trains_nothing_is_named(tmp_path):
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    freeze_all_but(model, model.connector)
    samples = [s for s in make_samples(model, tokenizer) if s.image is None][:2]
    collate = make_collator(tokenizer, torch.rand(6, 3, 32, 32))
    with pytest.raises(InputError, match=r"samples s\d+, s\d+: where only the connector trains"):
        train(
            model, TrainingData(samples, collate), Recipe(lr=1e-2, global_batch=2), tmp_path, 0, Machine(device="cpu")
        )


def test_every_epoch_has_another_order(tmp_path):
    seen = []
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    freeze_all_but(model, model.connector, model.language_model)
    collate = make_collator(tokenizer, torch.rand(6, 3, 32, 32))
    data = TrainingData(
        make_samples(model, tokenizer), lambda batch: seen.append([s.id for s in batch]) or collate(batch)
    )
    train(model, data, Recipe(lr=1e-3, global_batch=8, epochs=2), tmp_path, 0, Machine(device="cpu"))
    assert len(seen) == 14
    assert seen[:7] != seen[7:]
    assert {name for batch in seen[:7] for name in batch} == {name for batch in seen[7:] for name in batch}


def test_not_finite_loss_names_step_and_samples(tmp_path):
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    freeze_all_but(model, model.connector)
    samples = make_samples(model, tokenizer, blind_every=0)
    pixels = torch.rand(6, 3, 32, 32)
    pixels[1] = float("nan")  # image of the samples s1, s7, s13, ...
    with pytest.raises(InputError, match=r"loss is nan at step 1, samples (s\d+, )*s7"):
        data = TrainingData(samples, make_collator(tokenizer, pixels))
        train(model, data, Recipe(lr=1e-2, global_batch=48), tmp_path, 0, Machine(device="cpu"))


def test_not_finite_loss_is_counted_where_that_is_asked_for(tmp_path):
    """Training goes on with finite weights, and learns from the others."""
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    freeze_all_but(model, model.connector)
    before = {name: p.clone() for name, p in model.connector.named_parameters()}
    samples = make_samples(model, tokenizer, blind_every=0)
    result = count_not_finite(model, tokenizer, samples, tmp_path)
    assert set(result.not_finite) == {s.id for s in samples if s.image == "i1"}
    for name, p in model.connector.named_parameters():
        assert torch.isfinite(p).all() and not torch.equal(p, before[name]), name


def test_what_was_counted_before_a_stop_is_counted_after_it(tmp_path):
    tokenizer = make_tokenizer()

    def run(folder, on_progress=None):
        model = make_model(tokenizer=tokenizer)
        freeze_all_but(model, model.connector)
        samples = make_samples(model, tokenizer, blind_every=0)
        return count_not_finite(model, tokenizer, samples, folder, on_progress)

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", stop)
    resumed = run(tmp_path / "broken")
    assert resumed.resumed_from == 3
    assert resumed.not_finite == whole.not_finite != ()


def test_counting_goes_on_from_a_checkpoint_that_counts_nothing(tmp_path):
    """As several processes, where the first such loss ends all, leave it to a single one."""
    machine = Machine(per_device_batch=4, checkpoint_steps=3, device="cpu")
    train_tiny(tmp_path, machine=machine, frac=0.5)
    assert not list(tmp_path.glob("*/not_finite.json"))
    _, result = train_tiny(tmp_path, machine=machine, skip_not_finite=True)
    assert (result.resumed_from, result.steps, result.not_finite) == (10, 14, ())


def count_not_finite(model, tokenizer, samples, work, on_progress=None):
    """Train on samples of which those with the image i1 give a loss that is not finite."""
    pixels = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    pixels[1] = float("nan")
    return train(
        model, TrainingData(samples, make_collator(tokenizer, pixels), skip_not_finite=True),
        Recipe(lr=1e-2, global_batch=8), work, 0,
        Machine(per_device_batch=1, device="cpu", checkpoint_steps=3), Monitor(on_progress=on_progress),
    )  # fmt: skip


def test_no_samples_is_an_error(tmp_path):
    model = make_model()
    with pytest.raises(InputError, match="no samples to train on"):
        train(model, TrainingData([], lambda batch: batch), Recipe(lr=1e-2, global_batch=8), tmp_path, 0)


def test_batches_are_of_one_modality_and_fixed_by_the_seed():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    samples = make_samples(model, tokenizer)

    def order(seed, micro=4, epoch=0):
        batches = GroupedBatches.of(samples, 8, micro, seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1) == order(1) != order(2)
    assert order(1, epoch=1) != order(1)
    assert len(order(1)) == len(GroupedBatches.of(samples, 8, 4, 1)) == 14
    for batch in order(1):
        assert len({samples[k].image is None for k in batch}) == 1
    assert {k for batch in order(1) for k in batch} == set(range(len(samples)))
    # The batch per device cuts global batches up and leaves them as they are.
    small, large = order(1, micro=2), order(1, micro=8)
    assert [sorted(itertools.chain(*small[k : k + 4])) for k in range(0, len(small), 4)] == [sorted(b) for b in large]


@pytest.mark.parametrize(
    ("global_batch", "per_device", "devices", "expected"),
    [(128, 16, 8, (16, 1)), (128, 64, 1, (64, 2)), (96, 64, 1, (48, 2)), (8, 100, 2, (4, 1))],
)
def test_accumulation_follows_from_the_machine(global_batch, per_device, devices, expected):
    assert cut_global_batch(global_batch, per_device, devices) == expected


def test_global_batch_must_be_shared_out():
    with pytest.raises(InputError, match="no multiple of 3 devices"):
        cut_global_batch(128, 16, 3)


def test_unknown_optimizer_names_the_nearest():
    with pytest.raises(InputError, match=r"did you mean adamw\?"):
        build_optimizer(make_model(), "adam", 1e-3)


def test_muon_takes_matrices_only():
    model = make_model()
    freeze_all_but(model, model.connector, model.language_model)
    optimizer = build_optimizer(model, "muon+adamw", 1e-3, 0.01)
    muon = {id(p) for group in optimizer.param_groups[:1] for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in muon}
    assert "connector.linear_1.weight" in names
    assert not any("embed" in name or "norm" in name or name.endswith("bias") for name in names)
    total = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert total == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_turns_that_weigh_alike_give_the_mean_of_the_turns_own_losses():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    samples = []
    for sample in make_samples(model, tokenizer, count=8, blind_every=1):
        first, *others = sample.turns  # one long answer beside the short ones
        longer = replace(first, ids=first.ids + first.ids[:4], targets=first.targets + (True,) * 4)
        samples.append(replace(sample, turns=(longer, *others)))

    def loss(chosen: list, turns_alike: bool) -> float:
        batch = Collator(tokenizer.pad_token_id, dict, turns_alike)(chosen)
        del batch["sample_ids"], batch["tokens"]
        with torch.no_grad():
            return model(**batch).loss.item()

    turns = [(sample, turn) for sample in samples for turn in sample.turns]
    assert len({sum(turn.targets) for _, turn in turns}) > 1
    own = [loss([replace(sample, turns=(turn,))], turns_alike=False) for sample, turn in turns]
    assert loss(samples, turns_alike=True) == pytest.approx(sum(own) / len(own), rel=1e-4)
    assert loss(samples, turns_alike=False) != pytest.approx(sum(own) / len(own), rel=1e-4)


def test_text_alone_gives_the_connector_a_gradient_of_zero_only_where_ranks_wait_for_it():
    """With ZeRO every parameter takes part in every step; without, an optimizer must not see (and decay) it."""
    tokenizer = make_tokenizer()
    blind = [s for s in make_samples(make_model(tokenizer=tokenizer), tokenizer) if s.image is None][:2]
    losses = []
    for mixing in ("channel", "interleave", "sum"):
        model = make_model(tokenizer=tokenizer, mixing=mixing).train()
        batch = make_collator(tokenizer, torch.rand(6, 3, 32, 32))(blind)
        del batch["sample_ids"], batch["tokens"]
        for takes_part in (False, True):
            model.every_parameter_takes_part = takes_part
            loss = model(**batch).loss
            loss.backward()
            grads = [p.grad for p in model.connector.parameters()]
            assert all(g is not None and not g.any() for g in grads) if takes_part else grads == [None] * len(grads)
            losses.append(loss.item())
            model.zero_grad()
    assert len(set(losses)) == 1


def test_ranks_of_a_step_see_the_same_modality():
    """A rank with images beside one without would wait for the other's encoder and connector for ever."""
    tokenizer = make_tokenizer()
    samples = make_samples(make_model(tokenizer=tokenizer), tokenizer)
    for world in (2, 4):
        batches = list(GroupedBatches.of(samples, 8, 1, seed=1))
        for start in range(0, len(batches), world):
            assert len({samples[k].image is None for batch in batches[start : start + world] for k in batch}) == 1


def test_adapters_learn_at_their_own_rate_and_not_by_muon():
    from model.training.adaptation import LLM_LINEARS, Lora, add_lora, merge_lora

    model = make_model()
    adapters = add_lora(model.language_model, Lora(4, 8, 0.0), LLM_LINEARS)
    freeze_all_but(model, model.connector)
    for p in adapters:
        p.requires_grad_(True)
    assert len(adapters) == 2 * 7 * 2  # A and B of seven matrices in each of two layers
    groups = build_optimizer(model, "adamw", 1e-5, lora_lr=2e-4).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rates[id(p)] for p in adapters} == {2e-4}
    assert {rates[id(p)] for p in model.connector.parameters()} == {1e-5}
    assert len(rates) == len(adapters) + len(list(model.connector.parameters()))
    with pytest.raises(InputError, match="does not train LoRA adapters"):
        build_optimizer(model, "muon+adamw", 1e-3, 0.01)
    before = set(make_model().state_dict())
    assert merge_lora(model.language_model) == 14 and set(model.state_dict()) == before
