"""Pretraining of the foundation models: losses fall, batches are isolated, tokenizers keep letters and digits whole,
and the committed weights load in transformers' own classes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from data_registry.render import COLORS, NAMES
from data_registry.text.passages import passage
from model.pretrain import clip, dinov2, language, mae
from model.pretrain.optimizer import Optimizer
from model.pretrain.tokenizer import FAMILIES, train_tokenizer
from model.pretrain.vision import VisionSize, random_views, to_pixels
from tasks.pretraining.scenes import STRIDE, draw

FOUNDATION = Path(__file__).parents[2] / "runs" / "tiny" / "foundation"
SIZE = VisionSize(image=48, patch=12, width=32, layers=2, heads=2)
MEAN = STD = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def rows() -> list[np.ndarray]:
    """Twelve rendered scenes of 48 px, field by field."""
    return [np.stack(column) for column in zip(*(draw(3, i, 48) for i in range(12)), strict=True)]


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def tokenizer(family):
    texts = [
        f"{p.description} {e.question}\n\n{e.answer}" for p in (passage((1, i)) for i in range(80)) for e in p.talk
    ]
    return train_tokenizer(family, texts, 900)


def fall(modules: list, loss_of, steps: int = 25) -> tuple[float, float]:
    """First loss and the mean of the last three, training on the same batch."""
    torch.manual_seed(0)
    optimizer = Optimizer(modules, steps * 2, matrix_lr=0.02, other_lr=3e-3, warmup=2)
    losses = []
    for step in range(steps):
        loss = loss_of()
        loss.backward()
        optimizer.step(step)
        losses.append(loss.item())
    return losses[0], sum(losses[-3:]) / 3


def test_dense_pretext_learns(rows):
    images, body, nocs, names, colors, _, boxes, _ = rows
    views = random_views(images, body, nocs, boxes, np.random.default_rng(0))
    wanted = dinov2.labels(views, names, colors, len(NAMES), 4)
    torch.manual_seed(0)
    model = dinov2.build(SIZE)
    pretext = dinov2.DensePretext(32, len(NAMES), len(COLORS), (SIZE.patch // STRIDE) ** 2)
    pixels = to_pixels(views.images, MEAN, STD, None)
    first, last = fall([model, pretext], lambda: pretext(model(pixels).last_hidden_state[:, 1:], wanted)[0])
    assert last < 0.7 * first


def test_self_distillation_moves_student_and_teacher(rows):
    pixels = to_pixels(rows[0], MEAN, STD, None)
    torch.manual_seed(0)
    pair = dinov2.SelfDistillation(dinov2.build(SIZE), prototypes=32)
    before = pair.teacher_head[0].weight.clone()
    first, last = fall([pair], lambda: pair(pixels, pixels.flip(-1)), 10)
    assert torch.equal(pair.teacher_head[0].weight, before)  # gradients do not reach it
    pair.follow(0.9)
    assert not torch.equal(pair.teacher_head[0].weight, before)
    assert math.isfinite(last) and last < first


def test_mae_learns(rows):
    pixels = to_pixels(rows[0], MEAN, STD, None)
    torch.manual_seed(0)
    model = mae.build(SIZE, decoder_width=32, decoder_layers=1)
    first, last = fall([model], lambda: mae.reconstruction_loss(model, pixels))
    assert last < 0.95 * first


def test_clip_learns_and_equal_captions_are_no_negatives(rows):
    pixels = to_pixels(rows[0], MEAN, STD, None)
    captions = [f"a {NAMES[i]}" for i in range(6)] * 2
    tokenizer = clip.train_tokenizer(captions)
    tokens = tokenizer(captions, padding=True, return_tensors="pt")
    tokens = {k: tokens[k] for k in ("input_ids", "attention_mask")}
    torch.manual_seed(0)
    model = clip.build(SIZE, tokenizer, text_width=32, text_layers=1)
    first, last = fall([model], lambda: clip.contrastive_loss(model, pixels, tokens, captions), 40)
    assert last < 0.7 * first
    with torch.no_grad():
        same = clip.contrastive_loss(
            model, pixels[:1].expand(4, -1, -1, -1), {k: v[:1].expand(4, -1) for k, v in tokens.items()}, ["x"] * 4
        )
    assert same.item() == pytest.approx(math.log(4), abs=1e-3)  # all pairs match: no image is better than another


def test_a_mirrored_view_mirrors_its_maps(rows):
    images, body, nocs, names, _, _, boxes, _ = rows

    class Always:
        """A generator that mirrors every picture and moves it one cell right and down."""

        def random(self, n):
            return np.zeros(n)

        def integers(self, low, high, shape):
            return np.ones(shape, int)

    views = random_views(images, body, nocs, boxes, Always())
    cells = body.shape[1]
    assert np.array_equal(views.body[:, 1:, 1:], body[:, :-1, ::-1][:, :, : cells - 1])
    assert np.array_equal(views.nocs[:, 1:, 1:, 2], -nocs[:, :-1, ::-1, 2][:, :, : cells - 1])
    assert np.array_equal(views.images[:, STRIDE:, STRIDE:], images[:, :-STRIDE, ::-1][:, :, : 48 - STRIDE])
    for i, j in np.argwhere(names >= 0):
        ys, xs = np.nonzero(views.body[i] == j)
        if len(xs) > 3 and xs.max() < cells - 1:
            x0, y0, x1, _ = views.boxes[i, j] / STRIDE
            assert x0 - 1.5 <= xs.min() and xs.max() <= x1 + 1.5 and y0 - 1.5 <= ys.min()


def test_tokenizer_keeps_letters_digits_and_specials_whole(family, tokenizer):
    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    for letter in "ABCD":
        assert len(ids(letter)) == len(ids(f" {letter}")) == 1
        assert ids(f"\n{letter}")[-1] == ids(letter)[0]
    assert [len(ids(d)) for d in "0123456789"] == [1] * 10
    assert len(ids("1234")) == 4
    for special in ("<image>", "<pad>", *FAMILIES[family].special):
        assert len(ids(special)) == 1
    text = "Ein Wörtchen 北, 12.5 m\n\n\tand “quotes”"
    assert tokenizer.decode(ids(text)) == text
    assert tokenizer.unk_token_id not in ids(text) or tokenizer.unk_token_id is None


def test_chat_template_ends_answers(family, tokenizer):
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "B"}], tokenize=False
    )
    f = FAMILIES[family]
    assert said == f"{f.opening}hello{f.asking}{f.answering}B{f.end}"


@pytest.fixture(scope="module")
def batch(family, tokenizer) -> language.Batch:
    packer = language.Packer(tokenizer, family, rows=3, length=200, sets=0.5, chat=0.5)
    count = iter(range(10_000))
    return packer.pack(lambda: passage((2, next(count))), np.random.default_rng(0))


def test_language_model_learns(family, tokenizer, batch):
    torch.manual_seed(0)
    model = language.build(language.Size(32, 2, 2, 64), len(tokenizer), tokenizer)
    first, last = fall([model], lambda: language.loss(model, batch), 30)
    assert last < 0.5 * first


def test_exchanges_do_not_see_each_other(family, tokenizer, batch):
    """A changed word reaches the rest of its own exchange only; one in a description reaches its whole passage."""
    torch.manual_seed(0)
    model = language.build(language.Size(32, 2, 2, 64), len(tokenizer), tokenizer).eval()

    def reached(position: int) -> torch.Tensor:
        words = batch.words.clone()
        words[batch.starts.view(batch.positions.shape)[0, position]] = 7
        changed = language.Batch(**{**vars(batch), "words": words})
        with torch.no_grad():
            moved = language.hidden_states(model, batch) - language.hidden_states(model, changed)
        return (moved[0].abs().sum(-1) > 1e-6).nonzero().flatten()

    passages, exchanges = batch.passage[0], batch.exchange[0]
    turn = int((exchanges == 2).nonzero()[0])
    for position in reached(turn):
        assert position >= turn and exchanges[position] == 2 and passages[position] == passages[turn]
    everywhere = set(reached(0).tolist())
    assert everywhere <= set((passages == passages[0]).nonzero().flatten().tolist())
    assert {int(exchanges[i]) for i in everywhere} >= {1, 2}


def test_blur_reaches_word_sets_alone_and_is_gone_without_noise(family, tokenizer):
    def made(noise: float, sets: float = 1.0) -> language.Batch:
        packer = language.Packer(tokenizer, family, rows=3, length=200, sets=sets, chat=0.5, noise=noise)
        seeds = iter(range(100))
        return packer.pack(lambda: passage((5, next(seeds)), quiz=0.0), np.random.default_rng(0))

    blurred = made(1.0)
    several = torch.diff(blurred.starts, append=torch.tensor([len(blurred.words)])) > 1
    assert several.any() and (blurred.noise[several] > 0).all()
    assert not blurred.noise[~several].any()  # questions, answers and single words stay what they are
    assert 0 < blurred.noise.max() <= 1
    assert not made(0.0).noise.any() and not made(1.0, sets=0.0).noise.any()

    model = language.build(language.Size(16, 1, 2, 32), len(tokenizer), tokenizer)
    torch.manual_seed(0)
    first = language.loss(model, blurred).item()
    assert first != language.loss(model, blurred).item()  # another draw of the same blur
    assert language.loss(model, made(0.0)).item() == language.loss(model, made(0.0)).item()


def test_answers_are_the_targets(family, tokenizer, batch):
    for kind, row, first, last in batch.kinds:
        answer = tokenizer.decode(batch.targets[row, first:last])
        assert answer.endswith(FAMILIES[family].end) and kind
        assert (batch.weights[row, first:last] > 0).all()


WRITTEN = [name for name in ("clip", "dinov2", "mae", "vicuna-7b", "llama3-8b") if (FOUNDATION / name).is_dir()]


def test_committed_weights_are_small():
    assert {"clip", "dinov2", "vicuna-7b", "llama3-8b"} <= set(WRITTEN)
    assert sum(path.stat().st_size for name in WRITTEN for path in (FOUNDATION / name).rglob("*")) <= 24 * 2**20


@pytest.mark.parametrize("name", WRITTEN)
def test_committed_weights_load_in_transformers(name: str):
    from transformers import AutoTokenizer, CLIPModel, Dinov2Model, LlamaForCausalLM, ViTMAEModel

    kind = {"clip": CLIPModel, "dinov2": Dinov2Model, "mae": ViTMAEModel}.get(name, LlamaForCausalLM)
    model, report = kind.from_pretrained(FOUNDATION / name, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert all(p.dtype == torch.float16 and p.isfinite().all() for p in model.parameters())
    if kind is LlamaForCausalLM or name == "clip":
        tokenizer = AutoTokenizer.from_pretrained(FOUNDATION / name)
        assert tokenizer.decode(tokenizer("a red car").input_ids, skip_special_tokens=True).strip() == "a red car"
    if name in ("clip", "dinov2", "mae"):
        stated = json.loads((FOUNDATION / name / "preprocessor_config.json").read_text())
        assert stated["size"] == {"height": 96, "width": 96} and len(stated["image_mean"]) == 3
