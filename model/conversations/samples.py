"""Conversations as token ids with a target flag each, built segment by segment.
Labels come from the segments themselves: nothing is re-tokenised or subtracted, so no sample can lose them silently."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data_registry.errors import InputError
from model.conversations.templates import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGE = "<image>"


class SampleFault(InputError):
    """A sample that cannot be learned from.

    Attributes:
        sample: its id.
        kind: what is wrong with it: no_answer or too_long.
    """

    def __init__(self, sample: str, kind: str, message: str):
        super().__init__(f"sample {sample}: {message}")
        self.sample, self.kind = sample, kind


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a sample says, before any tokenizer.

    Attributes:
        id: named in errors.
        image: key of its image, or None.
        turns: (question, answer) pairs, without the image mark.
    """

    id: str
    image: str | None
    turns: tuple[tuple[str, str], ...]

    @classmethod
    def from_llava(cls, id: str, image: str | None, messages: Sequence[dict[str, str]]) -> "Conversation":
        """Read LLaVA's format: messages {"from": "human"|"gpt", "value"} in alternation, the image marked in the first.

        Raises:
            InputError: a turn without a partner, or an image mark that does not fit the `image` field.
        """
        speakers = [m["from"] for m in messages]
        if speakers != ["human", "gpt"] * (len(messages) // 2) or not messages:
            raise InputError(f"sample {id}: messages must alternate human, gpt; found {speakers[:6]}")
        marks = sum(m["value"].count(IMAGE) for m in messages)
        if marks != (image is not None) or (marks and IMAGE not in messages[0]["value"]):
            raise InputError(f"sample {id}: {marks} {IMAGE} marks, image {image!r}; the first question opens with one")
        texts = [m["value"].replace(IMAGE, "").strip() for m in messages]
        return cls(id, image, tuple(zip(texts[::2], texts[1::2], strict=True)))


@dataclass(frozen=True, slots=True)
class EncodedTurn:
    """Token ids of one turn and whether each is a target."""

    ids: tuple[int, ...]
    targets: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A conversation in tokens: a prefix (opening, image) and turns.

    With `isolated` turns each continues the prefix alone; otherwise they follow one another.
    """

    id: str
    image: str | None
    prefix: tuple[int, ...]
    turns: tuple[EncodedTurn, ...]
    isolated: bool

    @property
    def length(self) -> int:
        """Tokens of the longest sequence that the LLM sees."""
        sizes = [len(turn.ids) for turn in self.turns]
        return len(self.prefix) + (max(sizes) if self.isolated else sum(sizes))


class SampleEncoder:
    """Turns conversations into tokens with one template and one tokenizer.

    Args:
        template: see `model/conversations/templates.py`.
        tokenizer: a fast tokenizer.
        image_token_id: placeholder for one image feature.
        image_tokens: number of features of an image.
        max_length: longest sequence; a longer sample is an error that names it.
        isolate: whether each turn attends to the image and itself only.
    """

    def __init__(
        self,
        template: Template,
        tokenizer: "PreTrainedTokenizerBase",
        image_token_id: int,
        image_tokens: int,
        max_length: int,
        isolate: bool,
    ):
        self.template, self.tokenizer = template, tokenizer
        self.image = (image_token_id,) * image_tokens
        self.max_length, self.isolate = max_length, isolate
        self._cache: dict[str, tuple[int, ...]] = {}
        # SentencePiece puts a space before every text by itself: a second one would be another token.
        pieces = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])
        self._adds_space = bool(pieces) and pieces[0].startswith("▁")

    def ids(self, text: str) -> tuple[int, ...]:
        """Token ids of one segment, special tokens in the text included, none added."""
        known = self._cache.get(text)
        if known is None:
            known = self._cache[text] = tuple(self.tokenizer(self._spaced(text), add_special_tokens=False)["input_ids"])
        return known

    def prefix(self, image: bool) -> tuple[int, ...]:
        """The opening, and the image with what follows it."""
        opening = self.ids(self.template.opening)
        return opening + self.image + self.ids(self.template.after_image) if image else opening

    def question(self, text: str, first: bool = True) -> tuple[int, ...]:
        """A question up to where its answer begins."""
        t = self.template
        if not t.keep_question:
            return ()
        return (() if first else self.ids(t.question_again)) + self.ids(text) + self.ids(t.reply)

    def answer(self, text: str) -> tuple[int, ...]:
        """An answer as a target, without its closing."""
        return self.ids(self.template.lead + text)

    def encode(self, conversation: Conversation) -> EncodedSample:
        """One conversation in tokens.

        Raises:
            SampleFault: no target token, or longer than max_length; the message names the sample.
        """
        closing = self.ids(self.template.closing)
        turns = []
        for at, (question, answer) in enumerate(conversation.turns):
            asked = self.question(question, first=at == 0 or self.isolate)
            target = (self.answer(answer) + closing) if answer else ()
            turns.append(EncodedTurn(asked + target, (False,) * len(asked) + (True,) * len(target)))
        if not any(any(turn.targets) for turn in turns):
            raise SampleFault(conversation.id, "no_answer", "no answer to learn from; it needs a non-empty gpt message")
        image = conversation.image
        sample = EncodedSample(conversation.id, image, self.prefix(image is not None), tuple(turns), self.isolate)
        if sample.length > self.max_length:
            raise SampleFault(
                conversation.id,
                "too_long",
                f"{sample.length} tokens, over max_length {self.max_length}; raise max_length or shorten the sample",
            )
        return sample

    def encode_all(self, conversations: Sequence[Conversation]) -> list[EncodedSample]:
        """All conversations, with every distinct text tokenised once and in one call."""
        self._remember(conversations)
        return [self.encode(conversation) for conversation in conversations]

    def sift(self, conversations: Sequence[Conversation]) -> tuple[list[Conversation], list[SampleFault]]:
        """What `encode` takes, and the faults of the rest. A fault costs its turn where turns are isolated."""
        self._remember(conversations)
        kept, faults = [], []
        for conversation in conversations:
            parts = [(turn,) for turn in conversation.turns] if self.isolate else [conversation.turns]
            good: list[tuple[str, str]] = []
            for part in parts:
                try:
                    self.encode(replace(conversation, turns=part))
                    good += part
                except SampleFault as fault:
                    faults.append(fault)
            if good:
                kept.append(replace(conversation, turns=tuple(good)))
        return kept, faults

    def _remember(self, conversations: Iterable[Conversation]) -> None:
        lead = self.template.lead
        texts = {text for c in conversations for q, a in c.turns for text in (q, lead + a)}
        ordered = sorted(texts - self._cache.keys())
        for start in range(0, len(ordered), 4096):  # what a tokenizer returns is a hundred times the size of its ids
            part = ordered[start : start + 4096]
            encoded = self.tokenizer([self._spaced(text) for text in part], add_special_tokens=False)["input_ids"]
            self._cache.update((text, tuple(ids)) for text, ids in zip(part, encoded, strict=True))

    def _spaced(self, text: str) -> str:
        return text.removeprefix(" ") if self._adds_space else text
