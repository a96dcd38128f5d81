"""Stage 0: matches of the contrastive loss, merging of adapters, captions cut at the text tower's length."""

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from model.backbones.encoders import VisionEncoder
from model.modeling import SpatialLLMForConditionalGeneration
from model.training.adaptation import (
    ContrastiveAdapter,
    Lora,
    Pair,
    PairCollator,
    add_lora,
    contrastive_loss,
    encode_captions,
    merge_lora,
    train_adapters_of,
)
from model.training.batching import GroupedBatches
from model.training.recipe import Machine, Recipe, TrainingData
from model.training.trainer import train
from tests.model.tiny_models import make_encoder, make_llm, make_tokenizer


@pytest.fixture
def clip(tokenizer):
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = CLIPConfig(
        vision_config={**size, "image_size": 32, "patch_size": 8},
        text_config={**size, "vocab_size": len(tokenizer), "max_position_embeddings": 12, "eos_token_id": 2,
                     "bos_token_id": 1, "pad_token_id": 0},
        projection_dim=16,
    )  # fmt: skip
    return CLIPModel(config).eval()


def test_one_match_each_is_clips_own_loss():
    a, b = (torch.nn.functional.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    logits = a @ b.T * 7
    expected = sum(torch.nn.functional.cross_entropy(x, torch.arange(5)) for x in (logits, logits.T)) / 2
    torch.testing.assert_close(contrastive_loss(a, b, torch.eye(5, dtype=torch.bool), torch.tensor(7.0)) / 5, expected)


def test_equal_captions_are_no_negatives():
    """Two pairs with the same caption and perfectly fitting images: as false negatives they would cost log 2 each."""
    one = torch.nn.functional.normalize(torch.randn(1, 8), dim=-1)
    images = texts = torch.cat([one, one, -one])
    matches = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    loss = contrastive_loss(images, texts, matches, torch.tensor(100.0))
    # Each of the two spreads its probability evenly, as its target does: nothing can be lower.
    torch.testing.assert_close(loss, torch.tensor(2 * 0.6931472), rtol=1e-4, atol=1e-4)
    images.requires_grad_(True)
    contrastive_loss(images, texts, matches, torch.tensor(100.0)).backward()
    assert images.grad.abs().max() < 1e-4


def test_collator_matches_captions_and_images():
    pairs = [Pair("a", "i1", "x"), Pair("b", "i2", "x"), Pair("c", "i1", "y"), Pair("d", "i3", "z")]
    collate = PairCollator(lambda keys: {}, torch.eye(3), {"x": 0, "y": 1, "z": 2})
    expected = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(collate(pairs)["matches"], expected)


def test_cut_captions_are_counted(clip, tokenizer):
    features, cut = encode_captions(clip, tokenizer, ["the car", "the red car is left of the blue chair " * 3])
    assert cut == 1 and features.shape == (2, 16)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(2))


def test_adapters_learn_and_merge_into_the_same_function(clip, pixels):
    tower = clip.vision_model
    before = {name: p.clone() for name, p in tower.named_parameters()}
    adapters = add_lora(tower, Lora(rank=2, alpha=4, dropout=0.0))
    assert len(adapters) == 2 * 3 * 2  # layers, projections, A and B
    clip.requires_grad_(False)
    for p in adapters:
        p.requires_grad_(True)
    encoder = VisionEncoder("clip", make_encoder("clip").spec, tower)
    model = ContrastiveAdapter(clip, encoder)
    texts = torch.nn.functional.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    batch = {
        "pixel_values": pixels, "text_features": texts, "matches": torch.eye(6, dtype=torch.bool),
        "labels": torch.arange(6),
    }  # fmt: skip
    optimizer = torch.optim.Adam(adapters, 0.01)
    losses = []
    for _ in range(20):
        loss = model(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    adapted = encoder(pixels)
    assert merge_lora(tower) == 6
    assert {name for name, _ in tower.named_parameters()} == before.keys()
    torch.testing.assert_close(encoder(pixels), adapted, rtol=1e-4, atol=1e-5)
    changed = {name for name, p in tower.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name in before if any(f"{x}_proj.weight" in name for x in "qkv")}


def test_recomputed_activations_change_no_loss(clip, pixels, tmp_path):
    """As at paper scale, where they are recomputed."""
    adapters = add_lora(clip.vision_model, Lora(rank=2, alpha=4, dropout=0.0))
    clip.requires_grad_(False)
    for p in adapters:
        p.requires_grad_(True)
    start = {name: p.clone() for name, p in clip.state_dict().items()}
    texts = torch.nn.functional.normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    pairs = [Pair(f"p{k}", str(k), str(k)) for k in range(6)]
    collate = PairCollator(
        lambda keys: {"pixel_values": torch.stack([pixels[int(k)] for k in keys])}, texts, {str(k): k for k in range(6)}
    )
    batches = GroupedBatches([0] * 6, [(0,)] * 6, 3, 3, 0)
    recipe, losses = Recipe(lr=0.01, global_batch=3, epochs=3, bf16=False), []
    for recompute in (False, True):
        clip.load_state_dict(start)
        model = ContrastiveAdapter(clip, VisionEncoder("clip", make_encoder("clip").spec, clip.vision_model))
        machine = Machine(per_device_batch=3, device="cpu", gradient_checkpointing=recompute)
        losses.append(train(model, TrainingData(pairs, collate, batches), recipe, tmp_path, 0, machine).loss)
        assert clip.vision_model.is_activation_checkpointing == recompute
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_next_token_objective_reaches_the_adapters(clip, pixels):
    tokenizer = make_tokenizer()
    encoder = VisionEncoder("clip", make_encoder("clip").spec, clip.vision_model)
    adapters = add_lora(clip.vision_model, Lora())
    llm = make_llm(len(tokenizer))
    model = SpatialLLMForConditionalGeneration.assemble([encoder], llm, len(tokenizer), "plain")
    trained = train_adapters_of(model, adapters)
    assert trained == sum(p.numel() for p in (*adapters, *model.connector.parameters()))
    ids = torch.tensor([[1] + [len(tokenizer)] * 16 + [5, 6, 7]])
    model(input_ids=ids, pixel_values=pixels[:1], labels=torch.tensor([[-100] * 17 + [5, 6, 7]])).loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in adapters)
    assert all(p.grad is None for p in llm.parameters())
