"""Pretraining of a tiny Llama on passages: batches, loss, and what it then understands.
Every exchange of a passage attends to the description and to itself only, as the turns of an image will later."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data_registry.text.passages import Passage
from model.layers.precision import mixed_precision
from model.pretrain import attention
from model.pretrain.tokenizer import FAMILIES

EMBEDDING_STD = 0.1  # words must not drown in what the first layers add; tied, so the logits grow with it
QUERY_STD = 0.05  # the likeness of two equal words is then a logit of about 3
COMMON = (",;.-", " -", " off", " slice", " nose", " feet", " hands", " cm", " and", " from")
ASIDE = 0.1  # weight in the loss of words that are not an answer


@dataclass(frozen=True)
class Size:
    """Width of the residual stream, layers, attention heads, width of the gated MLP."""

    width: int
    layers: int
    heads: int
    inner: int


def build(size: Size, vocab_size: int, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights whose heads begin by looking for what is like the word they stand on.

    To find a thing of the description by its name is what all exchanges begin with. With independent random queries
    and keys the first thousands of steps go by before any head does that; with equal ones every head starts there.
    """
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.inner,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},  # most of a head knows no order
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation=attention.NAME,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(0, EMBEDDING_STD)
        for layer in model.model.layers:
            query, key = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
            query.normal_(0, QUERY_STD)
            key.copy_(query)
    return model


@dataclass
class Batch:
    """Rows of packed passages.

    Attributes:
        words: (n,) token ids of all positions; a position may hold several words, whose embeddings are added.
        strengths: (n,) float, factor of each word's embedding.
        starts: (rows * length,) index of each position's first word.
        noise: (rows * length,) length of the random vector that is added to a position, in lengths of a word.
        positions: (rows, length) position ids; every exchange goes on from the end of its description.
        passage, exchange: (rows, length) which passage (-1: padding) and exchange (0: description) a position is of.
        targets: (rows, length) id of the next word.
        weights: (rows, length) of the target in the loss; 0 where there is none.
    """

    words: torch.Tensor
    strengths: torch.Tensor
    starts: torch.Tensor
    noise: torch.Tensor
    positions: torch.Tensor
    passage: torch.Tensor
    exchange: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    kinds: list[tuple[str, int, int, int]]  # kind of reasoning, row, first and last + 1 position that predict an answer


class Packer:
    """Turns passages into batches for one tokenizer.

    Args:
        sets: share of passages whose description is laid out as word sets: all words on a thing stand at one
            position, their embeddings added, a thing may come several times, and what lies around stands between.
            That is how an image will come: many attributes at one position, and no grammar.
        chat: share of passages whose exchanges are laid out as the family's chat.
        noise: from 0 to this, how much word sets are blurred: by words of other things, as patches at an edge are,
            and by random vectors (in lengths of a word), so that things are found among tokens that are no words.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        family: str,
        rows: int,
        length: int,
        sets: float,
        chat: float,
        noise: float = 0.0,
    ) -> None:
        self.family = FAMILIES[family]
        self.rows, self.length, self.sets, self.chat, self.noise = rows, length, sets, chat, noise
        self.pad = tokenizer.pad_token_id
        backend = tokenizer.backend_tokenizer
        self.encode = lambda text: backend.encode(text, add_special_tokens=False).ids
        # What every description says in the same way tells nothing: only what differs goes into a word set.
        self.common = {word for text in COMMON for word in self.encode(text)}
        self.known: dict[str, list[int]] = {}

    def pack(self, draw: Callable[[], Passage], rng: np.random.Generator, copies: int = 2) -> Batch:
        """Fill all rows with passages from `draw`; the last passage of a row has as many exchanges as fit.

        Args:
            copies: how often at most a thing comes again in a description laid out as word sets.
        """
        shape = self.rows, self.length
        slots: list[list[tuple[Sequence[int], Sequence[float]]]] = [[] for _ in range(self.rows)]
        positions, exchange = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        number_of = np.full(shape, -1)
        weights, kinds = np.zeros(shape, np.float32), []
        noise = np.zeros(shape, np.float32)
        for row in range(self.rows):
            line, number = slots[row], 0
            while self.length - len(line) > 64:
                passage = draw()
                blur = rng.uniform(0, self.noise) if self.noise else 0.0
                opening = self._description(passage, rng, copies, blur)
                start = len(line)
                if len(opening) + 40 > self.length - start:
                    break
                line.extend(opening)
                after = len(line)
                positions[row, start:after] = np.arange(after - start)
                noise[row, start:after] = [blur * (len(words) > 1) for words, _ in opening]
                aside = ASIDE if rng.random() < 0.25 else 0.0
                # Mostly without the words of the chat, which are a third of a short exchange and soon known.
                asking = self.family.asking if rng.random() < self.chat else "\n"
                for index, turn in enumerate(passage.talk, 1):
                    joint = ("", " ") if turn.note else (asking, self.family.answering)
                    question = self.encode("\n" + turn.question + joint[0])
                    answer = self.encode(joint[1] + turn.answer + self.family.end)
                    begin, end = len(line), len(line) + len(question) + len(answer)
                    if end > self.length:
                        break
                    line.extend(((word,), (1.0,)) for word in question + answer)
                    positions[row, begin:end] = np.arange(after - start, after - start + end - begin)
                    exchange[row, begin:end] = index
                    first = begin + len(question) - 1  # the position before the answer predicts its first word
                    weights[row, begin:first] = aside
                    weights[row, first : end - 1] = 1.0 / max(1.0, len(answer) / 6)  # a caption weighs as six words
                    kinds.append((turn.kind, row, first, end - 1))
                number_of[row, start : len(line)] = number
                number += 1
            line.extend([((self.pad,), (1.0,))] * (self.length - len(line)))
        return _as_batch(
            slots,
            noise=torch.from_numpy(noise.flatten()),
            positions=torch.from_numpy(positions),
            passage=torch.from_numpy(number_of),
            exchange=torch.from_numpy(exchange),
            weights=torch.from_numpy(weights),
            kinds=kinds,
        )

    def _description(
        self, passage: Passage, rng: np.random.Generator, copies: int, blur: float = 0.0
    ) -> list[tuple[Sequence[int], Sequence[float]]]:
        opening = self.encode(self.family.opening)
        if passage.digits or rng.random() >= self.sets:
            words = opening + self.encode(passage.description)
            return [((word,), (1.0,)) for word in words]
        sets = [(word,) for word in passage.surroundings for _ in range(rng.integers(1, copies + 2))]
        for phrase in passage.phrases:
            look, *rest = phrase.split(", ")
            sets.append((look, *rest))
            for _ in range(rng.integers(0, copies + 1)):  # other views of it, which may miss something
                sets.append((look, *(part for part in rest if rng.random() < 0.85)))
        slots: list[tuple[Sequence[int], Sequence[float]]] = [((word,), (1.0,)) for word in opening]
        for index in rng.permutation(len(sets)):
            parts = [self._words(part) for part in sets[index]]
            strengths = rng.uniform(0.7, 1.3, sum(map(len, parts)))
            strengths[: len(parts[0])] *= 2  # what a thing is stands out
            words = [word for part in parts for word in part]
            strengths /= len(words) ** 0.5
            if blur:
                related = [word for part in sets[rng.integers(len(sets))] for word in self._words(part)]
                words += related
                strengths = np.append(strengths, rng.uniform(0, 0.6 * blur, len(related)) / len(related) ** 0.5)
            slots.append((words, strengths.tolist()))
        return slots

    def _words(self, part: str) -> list[int]:
        if part not in self.known:
            self.known[part] = [word for word in self.encode(" " + part) if word not in self.common]
        return self.known[part]


def _as_batch(slots: Sequence[Sequence[tuple[Sequence[int], Sequence[float]]]], **rest: Any) -> Batch:
    """A batch of rows of slots, each the words that stand there and how strongly; `rest` as `Batch` has it."""
    flat = [slot for row in slots for slot in row]
    counts = np.array([len(words) for words, _ in flat])
    targets = np.array([words[0] for words, _ in flat]).reshape(len(slots), -1)
    return Batch(
        words=torch.tensor([w for words, _ in flat for w in words]),
        strengths=torch.tensor([s for _, strengths in flat for s in strengths]),
        starts=torch.from_numpy(np.cumsum(counts) - counts),
        targets=torch.from_numpy(np.roll(targets, -1, axis=1)),
        **rest,
    )


def hidden_states(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """(rows, length, width) final states of a batch."""
    embedding = model.get_input_embeddings().weight
    inputs = F.embedding_bag(
        batch.words, embedding, batch.starts, per_sample_weights=batch.strengths.to(embedding.dtype), mode="sum"
    ).view(*batch.positions.shape, -1)
    if bool(batch.noise.any()):
        size = embedding.detach().square().mean().sqrt()
        inputs = inputs + torch.randn_like(inputs) * size * batch.noise.view(*batch.positions.shape, 1)
    rows, length = batch.positions.shape
    same = batch.passage[:, :, None] == batch.passage[:, None, :]
    sees = (batch.exchange[:, None, :] == 0) | (batch.exchange[:, :, None] == batch.exchange[:, None, :])
    allowed = same & sees & torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(rows, 1, length, length, dtype=torch.bfloat16).masked_fill_(~allowed[:, None], -1e4)
    with mixed_precision("cpu"):
        return model.model(
            inputs_embeds=inputs, attention_mask=mask, position_ids=batch.positions, use_cache=False
        ).last_hidden_state


def loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Mean cross entropy of the next word, answers weighing most."""
    chosen = batch.weights > 0
    with mixed_precision("cpu"):
        logits = model.lm_head(hidden_states(model, batch)[chosen])
    weights = batch.weights[chosen]
    losses = F.cross_entropy(logits.float(), batch.targets[chosen], reduction="none")
    return (losses * weights).sum() / weights.sum()


@torch.no_grad()
def understanding(model: LlamaForCausalLM, batches: Sequence[Batch]) -> dict[str, float]:
    """Share of exchanges, by kind of reasoning, whose every answer word is the model's first choice."""
    right: dict[str, list[bool]] = defaultdict(list)
    for batch in batches:
        with mixed_precision("cpu"):
            best = model.lm_head(hidden_states(model, batch)).argmax(-1)
        hit = best == batch.targets
        for kind, row, first, last in batch.kinds:
            right[kind].append(bool(hit[row, first:last].all()))
    return {kind: sum(hits) / len(hits) for kind, hits in sorted(right.items())}
