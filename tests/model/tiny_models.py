"""Tiny random models of the real classes, and a BPE tokenizer trained on the spot."""

import torch

torch.set_num_threads(1)

TEXT = [
    "the red car is left of the blue chair and closer to the camera than the green mug .",
    "which object is closer to the camera ? A. car B. chair answer with the letter .",
    "USER: ASSISTANT: user assistant A B C D yes no how many what colour is facing",
]


def make_tokenizer(chat: bool = True):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    bpe.train_from_iterator(TEXT * 50, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    if chat:
        tokenizer.chat_template = (
            "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}"
        )
    return tokenizer


def make_tower(kind: str, seed: int = 0):
    from transformers import CLIPVisionConfig, CLIPVisionModel, Dinov2Config, Dinov2Model, ViTMAEConfig, ViTMAEModel

    torch.manual_seed(seed)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "clip":
        return CLIPVisionModel(CLIPVisionConfig(**size, intermediate_size=64, image_size=32, patch_size=8))
    if kind == "siglip2":
        from transformers import SiglipVisionConfig, SiglipVisionModel

        return SiglipVisionModel(SiglipVisionConfig(**size, intermediate_size=64, image_size=32, patch_size=8))
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(**size, mlp_ratio=2, image_size=32, patch_size=8))
    return ViTMAEModel(ViTMAEConfig(**size, intermediate_size=64, image_size=32, patch_size=16, mask_ratio=0.0))


def make_encoder(kind: str, layer: int = -2):
    from model.backbones.encoders import EncoderSpec, VisionEncoder

    means = {"clip": (0.48, 0.46, 0.41), "dinov2": (0.485, 0.456, 0.406), "mae": (0.5, 0.5, 0.5)}
    mean = means.get(kind, (0.5, 0.5, 0.5))
    spec = EncoderSpec(image_size=32, layer=layer, mean=mean, std=(0.25, 0.25, 0.25), skip=int(kind != "siglip2"))
    return VisionEncoder(kind, spec, make_tower(kind).eval())


def make_llm(vocab: int, hidden: int = 48, heads: int = 4, kv_heads: int = 2, seed: int = 0, tie: bool = True):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=512,
        tie_word_embeddings=tie,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,  # a flat random model would make equal logits too easy
    )
    return LlamaForCausalLM(config)


def make_model(
    encoders=("clip", "dinov2"),
    template="vicuna_v1",
    tokenizer=None,
    mixing="channel",
    connector="mlp2x_gelu",
    **llm,
):
    from model.modeling import SpatialLLMForConditionalGeneration

    tokenizer = tokenizer or make_tokenizer()
    return SpatialLLMForConditionalGeneration.assemble(
        [make_encoder(kind) for kind in encoders],
        make_llm(len(tokenizer), **llm),
        len(tokenizer),
        template,
        mixing=mixing,
        connector=connector,
    ).eval()


def make_samples(model, tokenizer, count: int = 48, isolate: bool = True, blind_every: int = 4):
    """Encoded samples of one to three turns, every fourth without an image."""
    import random

    from model.conversations.samples import Conversation, SampleEncoder
    from model.conversations.templates import build_template

    rng = random.Random(1)
    words = ["car", "chair", "mug", "red", "blue", "green", "left", "closer"]
    conversations = []
    for k in range(count):
        turns = tuple((f"which {rng.choice(words)} ?", rng.choice(words)) for _ in range(rng.randint(1, 3)))
        conversations.append(
            Conversation(f"s{k}", None if blind_every and k % blind_every == 0 else f"i{k % 6}", turns)
        )
    template = build_template(model.config.template, tokenizer)
    config = model.config
    encoder = SampleEncoder(template, tokenizer, config.image_token_id, config.image_tokens, 512, isolate)
    return encoder.encode_all(conversations)


def make_collator(tokenizer, pixels):
    from model.conversations.collate import Collator

    return Collator(
        tokenizer.pad_token_id, lambda keys: {"pixel_values": torch.stack([pixels[int(k[1:])] for k in keys])}
    )


def train_tiny(
    work, optimizer="muon+adamw", die_at: int | None = None, recipe=None, machine=None, blind_every=4, lora=0,
    on_log=None, frac=1.0, skip_not_finite=False,
):  # fmt: skip
    """Train connector and LLM of a random model for a few steps; with `die_at` it kills itself there.

    With `lora` (a rank) the LLM learns by adapters, which are merged at the end.
    """
    import os
    import signal

    from model.training.adaptation import LLM_LINEARS, Lora, add_lora, merge_lora
    from model.training.frozen import freeze_all_but
    from model.training.recipe import Machine, Monitor, Recipe, TrainingData
    from model.training.trainer import train

    tokenizer = make_tokenizer()
    model = make_model(tokenizer=tokenizer)
    if lora:
        torch.manual_seed(1)
        adapters = add_lora(model.language_model, Lora(lora, 2 * lora, 0.0), LLM_LINEARS)
        freeze_all_but(model, model.connector)
        for p in adapters:
            p.requires_grad_(True)
    else:
        freeze_all_but(model, model.connector, model.language_model)
    pixels = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    recipe = recipe or Recipe(lr=1e-3, muon_lr=0.01, optimizer=optimizer, global_batch=8, epochs=2)
    machine = machine or Machine(per_device_batch=4, checkpoint_steps=3, log_steps=1, device="cpu")

    def progress(done, total):
        if done == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    samples, collate = make_samples(model, tokenizer, blind_every=blind_every), make_collator(tokenizer, pixels)
    data = TrainingData(samples, collate, skip_not_finite=skip_not_finite)
    result = train(model, data, recipe, work, 3, machine, Monitor(on_log, progress), frac)
    if lora:
        merge_lora(model.language_model)
    return model, result
