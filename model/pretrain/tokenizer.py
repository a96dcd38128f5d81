"""Tokenizers of the tiny Llamas: byte-level BPE in which digits and option letters are tokens of their own.
Special tokens and chat templates are those of the models they stand for, so that the same code serves both."""

from collections.abc import Iterable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

IMAGE, PAD = "<image>", "<pad>"


@dataclass(frozen=True)
class Family:
    """What tells one family's conversations from another's.

    Attributes:
        special: all special tokens; the first begins a text.
        end: the token that ends an answer.
        opening, asking, answering: what stands before the first user turn, between question and answer, and before
            the answer's own words.
        chat_template: Jinja, as `tokenizer_config.json` holds it.
        roles: names of the speakers that are ordinary text here; each becomes a token of its own.
    """

    special: tuple[str, ...]
    end: str
    opening: str
    asking: str
    answering: str
    chat_template: str
    roles: tuple[str, ...] = ()


# The layout of lm-sys/FastChat:fastchat/conversation.py (vicuna_v1.1), which LLaVA calls v1.
_VICUNA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + ' ' }}"
    "{% elif m['role'] == 'user' %}{{ 'USER: ' + m['content'] }}"
    "{% else %}{{ ' ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
)
# The layout of Meta's model card for Llama 3 Instruct.
_LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' "
    "+ m['content'] + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
FAMILIES = {
    "vicuna-7b": Family(
        special=("<s>", "</s>", "<unk>"),
        end="</s>",
        opening="<s>USER: ",
        asking=" ASSISTANT:",
        answering=" ",
        chat_template=_VICUNA_TEMPLATE,
        roles=("USER:", " ASSISTANT:"),
    ),
    "llama3-8b": Family(
        special=("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        end="<|eot_id|>",
        opening="<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        asking="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        answering="",
        chat_template=_LLAMA3_TEMPLATE,
    ),
}


def train_tokenizer(name: str, texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of the family `name` whose words come from `texts`.

    Byte-level, so nothing is unknown. A digit is always one token; a letter is one with and without a space before it.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    family = FAMILIES[name]
    special = [*family.special, PAD, IMAGE]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    letters = " ".join("ABCD") + "\n" + "\n".join("ABCD")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *[f"x {letters}"] * 200, *family.roles * 1000], trainer)
    begin = family.special[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=family.end,
        pad_token=PAD,
        unk_token="<unk>" if "<unk>" in special else None,
        extra_special_tokens=[t for t in special if t not in (begin, family.end, PAD, "<unk>")],
        chat_template=family.chat_template,
        clean_up_tokenization_spaces=False,
    )
