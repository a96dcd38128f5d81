"""Foundation stage of the Llamas: a tokenizer, then pretraining on text about imagined scenes.
Nothing here sees a picture or a question of the benchmark."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from data_registry import ranges
from tasks.pretraining.loop import Schedule, rng, train
from tasks.stage.harness import StageRun

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from model.pretrain.language import Batch

    Loss = tuple[torch.Tensor, dict[str, float]]

_NONE = Schedule(steps=0)  # a phase that a Llama goes without
_TOKENIZER_PASSAGES = 1500
# Which passages: the seeds of these never meet.
_TOKENIZER, _TRAIN, _HELD_OUT, _QUIZ, _CAPTIONS, _ANSWERS, _STATEMENTS = range(7)


@dataclass(frozen=True)
class Params:
    """Size and training of a Llama (params.yaml: foundation.tiny.each).

    Attributes:
        seed: of weights and text.
        width, layers, heads, inner: see `model.pretrain.language.Size`.
        vocabulary: tokens at most.
        rows, length: of a batch, in positions.
        schedule: of the notes, from which it learns to find things and to reason.
        quizzes: of the second phase, in which it learns to answer lettered questions.
        captions: of the third, in which it learns to say all that is there, each thing seen in several places.
        answers: of the fourth, in which it learns to answer in common words.
        statements: of the last one, in which it learns to state the same plainly, with metres and heights.
        long: length of a batch in the last two, in positions.
        noise: blur of word sets in the last one.
        sets, chat: see `model.pretrain.language.Packer`.
        held_out: batches of unseen passages that understanding is measured on.
    """

    seed: ranges.Seed
    width: ranges.Count
    layers: ranges.Count
    heads: ranges.Count
    inner: ranges.Count
    schedule: Schedule
    quizzes: Schedule
    captions: Schedule
    answers: Schedule = _NONE
    statements: Schedule = _NONE
    vocabulary: ranges.Count = 1600
    rows: ranges.Count = 8
    length: ranges.Count = 256
    long: ranges.Count = 256
    noise: ranges.NotNegative = 1.0
    sets: ranges.Share = 0.8
    chat: ranges.Share = 0.5
    held_out: ranges.Count = 12


@dataclass(frozen=True)
class _Phases:
    """The losses of the phases of a training: of a step its loss, for `tasks.pretraining.loop.train`."""

    name: str
    params: Params
    tokenizer: "PreTrainedTokenizerFast"
    model: "LlamaForCausalLM"

    def all(self) -> "dict[str, tuple[Schedule, Callable[[int], Loss]]]":
        """{phase: (its schedule, its loss)}, in their order."""
        p = self.params
        return {
            "train": (p.schedule, self._notes),
            "quiz": (p.quizzes, self._quizzes),
            "captions": (p.captions, self._captions),
            "answers": (p.answers, self._answers),
            "statements": (p.statements, self._statements),
        }

    def batch(
        self,
        part: int,
        step: int,
        sets: float,
        copies: int,
        length: int | None = None,
        chat: float | None = None,
        noise: float = 0.0,
        **how: Any,
    ) -> "Batch":
        """A batch of passages, others for each part and step; `how` as for `data_registry.text.passages.passage`."""
        from data_registry.text.passages import passage
        from model.pretrain.language import Packer

        p = self.params
        length, chat = p.length if length is None else length, p.chat if chat is None else chat
        packer = Packer(self.tokenizer, self.name, p.rows, length, sets, chat, noise)
        count = itertools.count()
        return packer.pack(lambda: passage((p.seed, part, step, next(count)), **how), rng(p.seed, part, step), copies)

    def _loss(self, batch: "Batch") -> "Loss":
        from model.pretrain import language

        return language.loss(self.model, batch), {}

    def _notes(self, step: int) -> "Loss":
        p = self.params
        ease, quiz = _lesson(step / p.schedule.steps)
        sets = 1 - (1 - p.sets) * quiz
        words = self.batch(_TRAIN, step, sets, round(1 - ease), chat=p.chat * quiz, ease=ease, quiz=quiz)
        return self._loss(words)

    def _quizzes(self, step: int) -> "Loss":
        p = self.params
        drills = 0.35 - 0.25 * step / p.quizzes.steps  # first to read options at all
        return self._loss(self.batch(_QUIZ, step, p.sets, 1, chat=0.8 * p.chat, quiz=0.8, letters=drills))

    def _captions(self, step: int) -> "Loss":
        chat = 0.6 * self.params.chat
        return self._loss(self.batch(_CAPTIONS, step, 1.0, 4, chat=chat, quiz=0.6, letters=0.1, captions=0.4))

    def _answers(self, step: int) -> "Loss":
        how = {"turns": 16, "quiz": 0.6, "letters": 0.05, "captions": 0.1, "everyday": 0.7}
        return self._loss(self.batch(_ANSWERS, step, 1.0, 4, self.params.long, **how))

    def _statements(self, step: int) -> "Loss":
        p = self.params
        how = {"turns": 16, "quiz": 0.6, "letters": 0.05, "captions": 0.1, "everyday": 0.75, "statements": 0.45}
        return self._loss(self.batch(_STATEMENTS, step, 1.0, 4, p.long, noise=p.noise, **how))


def compute(run: StageRun) -> dict[str, Any]:
    """Train and save a Llama; metrics: share right by kind of reasoning, on unseen passages."""
    import torch

    from model.pretrain import language
    from model.pretrain.optimizer import Optimizer
    from model.pretrain.tokenizer import train_tokenizer

    p = run.parse(Params)
    tokenizer = train_tokenizer(run.name, _words(p.seed), p.vocabulary)
    torch.manual_seed(p.seed)
    model = language.build(language.Size(p.width, p.layers, p.heads, p.inner), len(tokenizer), tokenizer)
    phases = _Phases(run.name, p, tokenizer, model)
    for phase, (schedule, loss_of) in phases.all().items():
        optimizer = Optimizer([model], schedule.steps, schedule.matrix_lr, schedule.other_lr)
        train(run, {"model": model}, optimizer, loss_of, phase)

    metrics: dict[str, Any] = {"parameters": model.num_parameters(), "vocabulary": len(tokenizer)}
    for name, sets, common in (("text", 0.0, 0.0), ("word_sets", 1.0, 0.0), ("common_words", 1.0, 1.0)):
        draw = partial(phases.batch, _HELD_OUT, sets=sets, copies=1, quiz=1.0, everyday=common, statements=0.4 * common)
        shares = language.understanding(model, [draw(step) for step in range(p.held_out)])
        metrics[name] = {kind: round(share, 4) for kind, share in shares.items()}
    model.config._attn_implementation = "sdpa"
    model.half().save_pretrained(run.out)
    tokenizer.save_pretrained(run.out)
    return metrics


def _lesson(done: float) -> tuple[float, float]:
    """How easy and how much of a quiz passages are (see `passages.passage`), when a share of the training is done.

    First to find things by name, then to reason in notes, which are a third as long as quizzes, then quizzes.
    """
    ease = min(1.0, max(0.0, (0.08 - done) / 0.05))  # 1 until 3 %, 0 from 8 %
    quiz = min(1.0, max(0.1, (done - 0.5) / 0.15))  # 0.1 until 51.5 %, 1 from 65 %
    return ease, quiz if ease == 0 else 0.0


def _words(seed: int) -> Iterator[str]:
    """What the tokenizer's words come from: passages, and common English words."""
    from data_registry.text.lexicon import WORDS
    from data_registry.text.passages import passage

    for index in range(_TOKENIZER_PASSAGES):
        imagined = passage((seed, _TOKENIZER, index))
        yield imagined.description
        yield from (f"{turn.question}\n\n{turn.answer}" for turn in imagined.talk)
    for word in WORDS:
        # Often enough to become a token of its own in both forms, whatever the passages hold.
        yield from [f" {word}"] * 40
        yield from [word.capitalize(), word] * 8
