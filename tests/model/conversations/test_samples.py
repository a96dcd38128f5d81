"""Templates and labels: every token of a sample is accounted for; what cannot be learned from is refused by name."""

import pytest
import torch

from data_registry.errors import InputError
from model.conversations.collate import Collator
from model.conversations.samples import Conversation, SampleEncoder
from model.conversations.templates import build_template
from tests.model.tiny_models import make_tokenizer

IMAGE_ID = 900
TURNS = (("which is closer ?", "the car"), ("what colour ?", "red"))


def sample_of(template, tokenizer, turns=TURNS, image="i0", isolate=False, system="", max_length=200):
    encoder = SampleEncoder(build_template(template, tokenizer, system), tokenizer, IMAGE_ID, 4, max_length, isolate)
    return encoder.encode(Conversation("s1", image, turns))


def text_of(tokenizer, ids) -> str:
    return "".join("#" if i == IMAGE_ID else tokenizer.decode([i]) for i in ids)


def targets_of(tokenizer, sample) -> list[str]:
    return [
        text_of(tokenizer, [i for i, flag in zip(turn.ids, turn.targets, strict=True) if flag]) for turn in sample.turns
    ]


def whole(tokenizer, sample) -> str:
    return text_of(tokenizer, sample.prefix) + "".join(text_of(tokenizer, turn.ids) for turn in sample.turns)


@pytest.mark.parametrize(
    ("template", "system", "expected", "targets"),
    [
        ("plain", "", "<s>####the car\nred\n", ["the car\n", "red\n"]),
        (
            "vicuna_v1",
            "",
            "<s>USER: ####\nwhich is closer ? ASSISTANT: the car</s>USER: what colour ? ASSISTANT: red</s>",
            [" the car</s>", " red</s>"],
        ),
        (
            "vicuna_v1",
            "A chat.",
            "<s>A chat. USER: ####\nwhich is closer ? ASSISTANT: the car</s>USER: what colour ? ASSISTANT: red</s>",
            [" the car</s>", " red</s>"],
        ),
        (
            "chat",
            "",
            "<s><|user|>####\nwhich is closer ?<|end|><|assistant|>the car<|end|>"
            "<|user|>what colour ?<|end|><|assistant|>red<|end|>",
            ["the car<|end|>", "red<|end|>"],
        ),
    ],
)
def test_conversations_read_as_the_template_says(tokenizer, template, system, expected, targets):
    sample = sample_of(template, tokenizer, system=system)
    assert whole(tokenizer, sample) == expected
    assert targets_of(tokenizer, sample) == targets


def test_chat_template_equals_the_tokenizers_own_rendering(tokenizer):
    messages = [
        {"role": role, "content": text}
        for turn in TURNS
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    own = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole(tokenizer, sample_of("chat", tokenizer, image=None)) == own


def test_isolated_turns_each_read_as_a_sample_of_their_own(tokenizer):
    together = sample_of("vicuna_v1", tokenizer, isolate=True)
    for turn, own in zip(together.turns, TURNS, strict=True):
        alone = sample_of("vicuna_v1", tokenizer, turns=(own,))
        assert (together.prefix, turn) == (alone.prefix, alone.turns[0])
    assert together.length == max(len(together.prefix) + len(turn.ids) for turn in together.turns)


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("template", ["plain", "vicuna_v1", "chat"])
def test_batch_labels_are_the_targets_each_predicted_by_the_token_before(tokenizer, template, isolate):
    sample = sample_of(template, tokenizer, isolate=isolate)
    longer = sample_of(
        template, tokenizer, turns=(*TURNS, ("left or right of the blue chair ?", "left")), isolate=isolate
    )
    batch = Collator(0, lambda keys: {})([sample, longer])
    ids, width = batch["input_ids"], batch["input_ids"].shape[1]
    flat = ids.flatten()
    assert len(batch["labels"]) == sum(sum(turn.targets) for s in (sample, longer) for turn in s.turns)
    for label, at in zip(batch["labels"].tolist(), batch["label_positions"].tolist(), strict=True):
        following = flat[at + 1] if not (isolate and at % width == batch["prefix_length"] - 1) else None
        assert following is None or following == label
    read = [text_of(tokenizer, batch["labels"].tolist())]
    assert read == ["".join(targets_of(tokenizer, sample) + targets_of(tokenizer, longer))]


def test_sample_without_target_is_refused_by_name(tokenizer):
    with pytest.raises(InputError, match="sample s1: no answer to learn from"):
        sample_of("vicuna_v1", tokenizer, turns=(("which ?", ""),))


def test_sample_over_the_limit_is_refused_by_name(tokenizer):
    with pytest.raises(InputError, match=r"sample s1: \d+ tokens, over max_length 20"):
        sample_of("vicuna_v1", tokenizer, max_length=20)


def test_encoding_all_at_once_equals_one_by_one(tokenizer):
    encoder = SampleEncoder(build_template("vicuna_v1", tokenizer), tokenizer, IMAGE_ID, 4, 200, True)
    other = SampleEncoder(build_template("vicuna_v1", tokenizer), tokenizer, IMAGE_ID, 4, 200, True)
    conversations = [Conversation("a", "i0", TURNS), Conversation("b", None, TURNS[:1])]
    assert encoder.encode_all(conversations) == [other.encode(c) for c in conversations]


def test_spaces_of_sentencepiece_are_not_doubled():
    """A tokenizer that puts a space before every text writes " A" as it writes "A"."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁A": 3, "▁B": 4, "▁USER:": 5, "▁ASSISTANT:": 6, "▁a": 7, "▁": 8}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    encoder = SampleEncoder(build_template("vicuna_v1", tokenizer), tokenizer, IMAGE_ID, 4, 200, True)
    assert encoder.answer("A") == (3,)


@pytest.mark.parametrize(
    ("image", "messages", "message"),
    [
        (None, [{"from": "human", "value": "hi"}], "must alternate"),
        ("i0", [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "x"}], "0 <image> marks"),
        (None, [{"from": "human", "value": "<image>\nhi"}, {"from": "gpt", "value": "x"}], "1 <image> marks"),
        ("i0", [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "<image>"}], "first question opens"),
    ],
)
def test_odd_conversations_are_refused_by_name(image, messages, message):
    with pytest.raises(InputError, match=f"sample s9: .*{message}"):
        Conversation.from_llava("s9", image, messages)


def test_unknown_template_names_the_nearest(tokenizer):
    with pytest.raises(InputError, match=r"did you mean vicuna_v1\?"):
        build_template("vicuna", tokenizer)


def test_chat_needs_a_chat_template():
    with pytest.raises(InputError, match="no chat_template"):
        build_template("chat", make_tokenizer(chat=False))


def test_isolated_batch_of_both_modalities_is_refused(tokenizer):
    both = [
        sample_of("vicuna_v1", tokenizer, isolate=True),
        sample_of("vicuna_v1", tokenizer, image=None, isolate=True),
    ]
    with pytest.raises(InputError, match="group by modality"):
        Collator(0, lambda keys: {})(both)


def test_position_ids_restart_after_the_image(tokenizer):
    batch = Collator(0, lambda keys: {})([sample_of("vicuna_v1", tokenizer, isolate=True)])
    p, turns = batch["prefix_length"], batch["turns"]
    positions = batch["position_ids"][0]
    assert torch.equal(positions[:p], torch.arange(p))
    starts = positions[p:].view(turns, -1)[:, 0]
    assert starts.tolist() == [p] * turns
