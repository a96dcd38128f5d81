"""Foundation stage of the encoders: CLIP on captions, DINOv2 by self-distillation and a dense pretext, MAE on pixels.
They see rendered scenes of the foundation seed, whose shapes no other set has, and no angle, depth or distance."""

import json
import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, cast

from data_registry import ranges
from tasks.pretraining.loop import Schedule, rng, train
from tasks.pretraining.scenes import SIDES, Scenes, scenes
from tasks.stage.harness import StageRun

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from model.pretrain.vision import Views


@dataclass(frozen=True)
class Params:
    """Size and training of an encoder (params.yaml: foundation.tiny.each).

    Attributes:
        seed: of scenes, weights and batches.
        scenes: how many are rendered.
        batch: pictures of a step.
        schedule: of the main phase (for DINOv2 the dense pretext).
        self_distillation: DINOv2's first phase; its batch is half as many pictures, each in two views.
    """

    seed: ranges.Seed
    scenes: ranges.Count
    batch: ranges.Count
    layers: ranges.Count
    schedule: Schedule
    self_distillation: Schedule | None = None
    width: ranges.Count = 192
    heads: ranges.Count = 3
    size: ranges.Count = 96
    patch: ranges.Count = 12


@dataclass
class Lessons:
    """Batches of an encoder's training, each from (seed, phase, step) alone."""

    p: Params
    data: Scenes
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def views(self, phase: str, step: int, count: int, view: int = 0) -> "tuple[Any, Views]":
        """Indices of `count` scenes and a random view of each; every scene comes once per epoch."""
        from model.pretrain.vision import random_views

        chosen = self._chosen(phase, step, count)
        d = self.data
        draw = rng(self.p.seed, phase, step, view)
        return chosen, random_views(d.images[chosen], d.body[chosen], d.nocs[chosen], d.boxes[chosen], draw)

    def pixels(self, views: "Views", phase: str, step: int, view: int = 0) -> "Tensor":
        """The views as tinted, normalised pixels."""
        import torch

        from model.pretrain.vision import to_pixels

        tint = torch.Generator().manual_seed(int(rng(self.p.seed, phase, step, view, 1).integers(2**40)))
        return to_pixels(views.images, self.mean, self.std, tint)

    def _chosen(self, phase: str, step: int, count: int) -> Any:
        per_epoch = max(1, len(self.data) // count)
        epoch, place = divmod(step, per_epoch)
        order = rng(self.p.seed, phase, "epoch", epoch).permutation(len(self.data))
        return order[place * count : (place + 1) * count]


def compute(run: StageRun) -> dict[str, Any]:
    """Train and save an encoder; metrics: its size, and the last values of its losses."""
    import torch

    from model.backbones.encoders import encoder_spec
    from model.pretrain.vision import VisionSize

    p = run.parse(Params)
    spec = encoder_spec(run.name, run.scale)
    data = scenes(run.work.parent / "scenes", p.seed, p.scenes, p.size, run.progress)
    lessons = Lessons(p, data, spec.mean, spec.std)
    torch.manual_seed(p.seed)
    size = VisionSize(p.size, p.patch, p.width, p.layers, p.heads)
    model, metrics = {"clip": _clip, "dinov2": _dinov2, "mae": _mae}[run.name](run, p, lessons, size)
    metrics["parameters"] = sum(weight.numel() for weight in model.parameters())
    cast("PreTrainedModel", model).half().save_pretrained(run.out)
    _describe_pixels(run, p, spec.mean, spec.std)
    return metrics


def _clip(run: StageRun, p: Params, lessons: Lessons, size: Any) -> "tuple[nn.Module, dict[str, Any]]":
    from model.pretrain import clip

    tokenizer = clip.train_tokenizer(_caption(lessons.data, i, 0) for i in range(min(4000, p.scenes)))
    model = clip.build(size, tokenizer)
    last: dict[str, Any] = {}

    def loss_of(step: int) -> "tuple[Tensor, dict[str, float]]":
        chosen, views = lessons.views("clip", step, p.batch)
        mirrored = lessons.pixels(views, "clip", step)
        captions = [_caption(lessons.data, int(i), step) for i in chosen]
        tokens = tokenizer(captions, padding=True, truncation=True, return_tensors="pt")
        loss = clip.contrastive_loss(model, mirrored, {k: tokens[k] for k in ("input_ids", "attention_mask")}, captions)
        last["loss"] = round(loss.item(), 4)
        return loss, {}

    train(run, {"model": model}, _optimizer([model], p.schedule), loss_of)
    model.config.text_config._attn_implementation = model.config.vision_config._attn_implementation = "sdpa"
    tokenizer.save_pretrained(run.out)
    return model, last


def _dinov2(run: StageRun, p: Params, lessons: Lessons, size: Any) -> "tuple[nn.Module, dict[str, Any]]":

    from data_registry.render import COLORS, NAMES
    from model.layers.precision import mixed_precision
    from model.pretrain import dinov2
    from tasks.pretraining.scenes import STRIDE
    from tasks.training.probing import probe_tower

    model = dinov2.build(size)
    metrics: dict[str, Any] = {}
    if p.self_distillation and p.self_distillation.steps:
        pair = dinov2.SelfDistillation(model)
        half = p.batch // 2

        def distil(step: int) -> "tuple[Tensor, dict[str, float]]":
            both = []
            for view in (0, 1):
                _, views = lessons.views("distil", step, half, view)
                both.append(lessons.pixels(views, "distil", step, view))
            with mixed_precision("cpu"):
                return pair(*both), {}

        steps = p.self_distillation.steps
        optimizer = _optimizer([pair], p.self_distillation)
        train(run, {"pair": pair}, optimizer, distil, "distil", lambda step: pair.follow(_momentum(step, steps)))
        metrics["self_distillation"] = probe_tower(model, lessons.mean, lessons.std, p.seed, p.size)

    grid = size.image // size.patch
    pretext = dinov2.DensePretext(size.width, len(NAMES), len(COLORS), (size.patch // STRIDE) ** 2)

    def loss_of(step: int) -> "tuple[Tensor, dict[str, float]]":
        chosen, views = lessons.views("dense", step, p.batch)
        wanted = dinov2.labels(views, lessons.data.names[chosen], lessons.data.colors[chosen], len(NAMES), grid)
        with mixed_precision("cpu"):
            features = model(lessons.pixels(views, "dense", step)).last_hidden_state[:, 1:]
            loss, parts = pretext(features, wanted)
        metrics["dense_pretext"] = {k: round(v, 4) for k, v in parts.items()}
        return loss, parts

    train(run, {"model": model, "pretext": pretext}, _optimizer([model, pretext], p.schedule), loss_of, "dense")
    model.config._attn_implementation = "sdpa"
    return model, metrics


def _mae(run: StageRun, p: Params, lessons: Lessons, size: Any) -> "tuple[nn.Module, dict[str, Any]]":
    from model.pretrain import mae

    model = mae.build(size)
    last: dict[str, Any] = {}

    def loss_of(step: int) -> "tuple[Tensor, dict[str, float]]":
        _, views = lessons.views("mae", step, p.batch)
        loss = mae.reconstruction_loss(model, lessons.pixels(views, "mae", step))
        last["loss"] = round(loss.item(), 4)
        return loss, {}

    train(run, {"model": model}, _optimizer([model], p.schedule), loss_of)
    encoder = model.vit  # the decoder has done its work
    encoder.config._attn_implementation = "sdpa"
    return encoder, last


def _optimizer(modules: list, schedule: Schedule) -> Any:
    from model.pretrain.optimizer import Optimizer

    return Optimizer(modules, schedule.steps, schedule.matrix_lr, schedule.other_lr)


def _momentum(step: int, steps: int) -> float:
    """The teacher's inertia, rising to 1 (Grill et al. 2020)."""
    return 1 - 0.01 * (1 + math.cos(math.pi * step / steps)) / 2


def _caption(data: Scenes, index: int, step: int) -> str:
    from data_registry.render import COLORS, KINDS, NAMES
    from data_registry.text.captions import Seen, caption

    things = [
        Seen(NAMES[name], COLORS[color], SIDES[side] if side >= 0 else None)
        for name, color, side in zip(data.names[index], data.colors[index], data.sides[index], strict=True)
        if name >= 0
    ]
    return caption(KINDS[data.kinds[index]], things, Random(f"{index} {step}"))


def _describe_pixels(run: StageRun, p: Params, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """preprocessor_config.json, as transformers' image processors read it."""
    described = {
        "image_processor_type": "CLIPImageProcessor" if run.name == "clip" else "BitImageProcessor",
        "do_resize": True,
        "size": {"height": p.size, "width": p.size},
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
        "do_convert_rgb": True,
    }
    (run.out / "preprocessor_config.json").write_text(json.dumps(described, indent=1) + "\n")
