"""What the training and scoring stages share: conversations of a mix, encoders of a design, a model and its files."""

import dataclasses
import hashlib
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_registry import conversations, mix, shards
from data_registry.errors import InputError
from tasks import digest
from tasks.stage import StageRun
from tasks.stopped import frac_of

if TYPE_CHECKING:
    from model.collate import ImageLookup
    from model.encoders import VisionEncoder
    from model.modeling import SpatialLLMForConditionalGeneration
    from model.samples import Conversation, SampleEncoder, SampleFault
    from model.training import Machine, Recipe

IMAGE_TOKEN = "<image>"
GROWING = "expandable_segments:True"  # torch's GPU memory: batches of many shapes would cut fixed blocks to pieces
CONNECTOR_FILE = "model.safetensors"
ROWS = 8  # most of a forward pass, where params.yaml says nothing else
SMALL_ROWS, SMALL_ROWS_GIB = 32, 24  # at small scale, and the GPU for them: 64 of stage 2 took 34 GiB


@dataclass(frozen=True)
class TrainParams:
    """Keys that every training stage has in params.yaml; see `model.training.Recipe` for those not explained here.

    Attributes:
        max_length: most tokens of a sequence; a longer sample is an error that names it.
        isolate_turns: whether each turn attends to the image and itself only.
        turns: turns per row, where they are isolated.
        turns_alike: whether every turn weighs the same in the loss, however long its answer is.
        fraction: share of each data set.
        zero_stage: DeepSpeed's ZeRO stage; 0 trains without DeepSpeed.
        mix: by data set the exact number of samples (a whole number) or a fraction of all (`3di-ft1m: 0.25`); a data
            set that is not named is taken by `fraction`.
        shard_window: of how many shards at a time the samples are mixed, for pictures that come shard by shard from S3;
            0: of all.
        faults: what becomes of a sample without an answer or over the limit, or a loss that is not finite: `stop` ends
            the run with an error that names the sample, `count` goes on without it and lists it in faults.jsonl.
            With DeepSpeed a loss that is not finite ends the run in either case.
    """

    lr: float
    muon_lr: float
    optimizer: str
    global_batch: int
    epochs: float
    warmup: float
    weight_decay: float
    max_length: int
    isolate_turns: bool
    turns: int
    fraction: float
    bf16: bool
    zero_stage: int
    turns_alike: bool = field(default=False, kw_only=True)
    mix: dict[str, int | float] = field(default_factory=dict, kw_only=True)
    shard_window: int = field(default=0, kw_only=True)
    faults: Literal["stop", "count"] = field(default="stop", kw_only=True)

    def recipe(self) -> "Recipe":
        """The part that the model's training knows."""
        from model.training import Recipe

        return Recipe(**{each.name: getattr(self, each.name) for each in fields(Recipe) if hasattr(self, each.name)})


def folders(run: StageRun, slot: str) -> list[Path]:
    """The folders of a slot that holds one or several stage runs."""
    value = run.inputs[slot]
    return value if isinstance(value, list) else [value]


def read_conversations(
    run: StageRun, fraction: float = 1.0, mixed: Mapping[str, mix.Amount] | None = None
) -> "list[Conversation]":
    """The conversations of a stage's data sets, in their order.

    Args:
        fraction: share of each data set; a smaller share is part of every larger one, whatever the order of the file.
        mixed: by data set how much of it instead, see `data_registry.mix`.
    """
    from model.samples import Conversation

    if not 0 < fraction <= 1:
        raise InputError(
            f"params.yaml: {run.stage}.{run.scale}.fraction is {fraction}; it must be above 0 and at most 1"
        )
    found = []
    mixed, where = mixed or {}, f"params.yaml: {run.stage}.{run.scale}.mix"
    mix.check(mixed, [folder.name for folder in folders(run, "data")], where)
    for folder in folders(run, "data"):
        path = folder / "conversations.parquet"
        taken = _taken(run, folder.name, conversations.ids(path), fraction, mixed)
        for record, wanted in zip(conversations.read(path), taken, strict=True):
            if wanted:
                found.append(Conversation.from_llava(record["id"], record["image"], record["conversations"]))
        run.tracker.dataset(folder.name, digest.read_manifest(folder)["content"], int(sum(taken)))
    return found


def _taken(
    run: StageRun, name: str, ids: Sequence[str], fraction: float, mixed: Mapping[str, mix.Amount]
) -> Sequence[bool]:
    """Which samples of a data set are read: `mix`, else `fraction` of params.yaml, and of that the design's share.

    Samples are chosen by their ids' hash in both, so that a smaller part lies within every larger one.
    """
    share = (run.parts.get("shares") or {}).get(name, 1.0)
    if name in mixed:
        amount = mixed[name]
        part = max(1, round(amount * share)) if isinstance(amount, int) else amount * share
        return mix.chosen(ids, part, f"params.yaml: {run.stage}.{run.scale}.mix.{name}").tolist()
    return [fraction * share == 1 or _chance(id_) < fraction * share for id_ in ids]


def _chance(id: str) -> float:
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8]) / 2**64


def regroup(found: "Iterable[Conversation]", turns: int) -> "list[Conversation]":
    """Conversations with `turns` turns each, as far as their image has them; for isolated turns only.

    Turns that do not see each other may share a row whatever sample they came from, and an image is then computed
    once for all of them. Turns of similar length go to the same row, where all are padded to the longest.
    """
    from model.samples import Conversation

    by_image: dict[str | None, list[tuple[str, tuple[str, str]]]] = defaultdict(list)
    for conversation in found:
        by_image[conversation.image] += [(conversation.id, turn) for turn in conversation.turns]
    rows = []
    for image, all_turns in by_image.items():
        parts = -(-len(all_turns) // turns)
        all_turns.sort(key=lambda entry: sum(map(len, entry[1])))
        bounds = [round(len(all_turns) * part / parts) for part in range(parts + 1)]
        for start, end in itertools.pairwise(bounds):
            chosen = all_turns[start:end]
            ids = list(dict.fromkeys(id for id, _ in chosen))
            rows.append(Conversation("+".join(ids), image, tuple(turn for _, turn in chosen)))
    return rows


def load_encoders(run: StageRun) -> "list[tuple[VisionEncoder, Path]]":
    """A design's frozen encoders, in its order, each with its folder; none for a blind design."""
    from model.encoders import load_encoder

    names = run.parts["encoders"]
    if not names:
        return []
    return [(load_encoder(name, run.scale, folder), folder) for name, folder in zip(names, folders(run, "encoders"))]


def image_token_id(tokenizer) -> int:
    """The id of the image placeholder; where the tokenizer has none, one beyond the LLM's vocabulary is added."""
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]}, replace_extra_special_tokens=False)
    return tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)


def machine_of(run: StageRun, zero_stage: int = 0) -> "Machine":
    """How to compute, from the runtime section; DeepSpeed where the parameters name a ZeRO stage."""
    from model.deepspeed import deepspeed_config
    from model.training import Machine

    runtime = run.runtime
    recompute = runtime.get("gradient_checkpointing")
    return Machine(
        per_device_batch=_batch_per_device(run),
        checkpoint_steps=int(runtime.get("checkpoint_steps", 50)),
        log_steps=int(runtime.get("log_steps", 10)),
        device=str(runtime.get("device", "auto")),
        deepspeed=deepspeed_config(zero_stage) if zero_stage else None,
        gradient_checkpointing=run.scale == "paper" if recompute is None else bool(recompute),
        workers=data_workers(runtime),
    )


def _batch_per_device(run: StageRun) -> int:
    """Most rows of a forward pass; at small scale on a GPU what its memory holds, since few leave it nothing to do."""
    given = run.runtime.get("batch_per_device")
    if given is not None:
        return int(given)
    device = device_of(run.runtime)
    if run.scale != "small" or not device.startswith("cuda"):
        return ROWS
    import torch

    gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    return SMALL_ROWS * max(1, int(gib // SMALL_ROWS_GIB))


def data_workers(runtime: Mapping[str, Any]) -> int:
    """Processes that load and decode: a GPU waits for pictures that one process decodes between two steps."""
    workers = runtime.get("data_workers")
    if workers is None:
        return 4 if device_of(runtime).startswith("cuda") else 0
    return int(workers)


def prepare(run: StageRun) -> None:
    """Threads of torch by the runtime section, and no talk from transformers: what matters is in our own lines."""
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", GROWING)
    import torch
    from transformers.utils import logging

    torch.set_num_threads(int(run.runtime.get("threads", 1)))
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def device_of(runtime: Mapping[str, Any]) -> str:
    """ "cuda:0" or "cpu" by the runtime section; `auto` is CUDA where there is one, for each process its own.

    Raises:
        InputError: CUDA where torch finds none.
    """
    import torch

    device = str(runtime.get("device", "auto"))
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: runtime.device is cuda, but torch finds no GPU here; use auto or cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device


def assemble(
    run: StageRun,
    encoders: "Sequence[tuple[VisionEncoder, Path]]",
    connector: str = "mlp2x_gelu",
    mixing: str = "channel",
) -> "tuple[SpatialLLMForConditionalGeneration, Any]":
    """A design's model with a new connector, and its tokenizer."""
    from model.llms import llm_spec, load_llm
    from model.modeling import SpatialLLMForConditionalGeneration

    spec = llm_spec(run.parts["llm"], run.scale)
    llm, tokenizer = load_llm(run.inputs["llm"])
    model = SpatialLLMForConditionalGeneration.assemble(
        [encoder for encoder, _ in encoders],
        llm,
        image_token_id(tokenizer),
        spec.template,
        spec.system,
        mixing,
        connector,
        run.seed,
    )
    return model, tokenizer


def images_of(run: StageRun, encoders: "Sequence[tuple[VisionEncoder, Path]]", bf16: bool) -> "ImageLookup | None":
    """How a stage gets its images; None for a blind design."""
    from tasks.features import image_lookup
    from tasks.streams import open_images

    if not encoders:
        return None
    budget_gb = float(run.runtime.get("feature_budget_gb", 20))
    opened = partial(open_images, run.runtime)
    return image_lookup(
        encoders,
        image_folders(run),
        bf16,
        budget_gb,
        device=device_of(run.runtime),
        workers=data_workers(run.runtime),
        progress=run.progress,
        open_images=opened,
    )


def image_folders(run: StageRun) -> list[Path]:
    """Where a stage's images lie: its scenes, and the data sets that bring pictures of their own."""
    data = folders(run, "data") if "data" in run.inputs else []
    return list(dict.fromkeys([run.inputs["scenes"], *filter(shards.has_images, data)]))


def fit(
    run: StageRun,
    params: TrainParams,
    model: "SpatialLLMForConditionalGeneration",
    tokenizer,
    images: "ImageLookup | None",
    found: "Sequence[Conversation]",
    template: str,
) -> dict[str, Any]:
    """Train what has gradients on conversations; without `images` the same conversations go blind. Returns metrics."""
    from model.collate import Collator
    from model.training import train
    from tasks import streams
    from tasks.features import NamingImages, plain_errors

    encoder = sample_encoder(model, tokenizer, template, params.max_length, params.isolate_turns)
    counting = params.faults == "count"
    found, faults = encoder.sift(found) if counting else (found, [])
    if params.isolate_turns:
        found = regroup(found, params.turns)  # before images go, so that a blind design sees the same rows
    if images is None:
        found = [dataclasses.replace(each, image=None) for each in found]
    samples = encoder.encode_all(found)
    if images is not None:
        showing = defaultdict(list)
        for sample in samples:
            showing[sample.image].append(sample.id)
        images = NamingImages(images, showing)
    order = streams.batches(run, params, samples, images.ahead if images is not None else lambda keys: None)
    with plain_errors():
        result = train(
            model,
            samples,
            Collator(tokenizer.pad_token_id, images, params.turns_alike),
            params.recipe(),
            run.work,
            run.seed,
            machine_of(run, params.zero_stage),
            order,
            on_log=run.tracker.log,
            on_progress=run.progress,
            count_faults=counting,
            frac=frac_of(run.parts),
        )
    counted = _note_faults(run, faults, result.not_finite) if counting else {}
    return {
        **counted,
        "loss": result.loss,
        "steps": result.steps,
        "samples": len(samples),
        "samples_without_image": sum(sample.image is None for sample in samples),
        "turns": sum(len(sample.turns) for sample in samples),
        "target_tokens": sum(sum(turn.targets) for sample in samples for turn in sample.turns),
    }


def _note_faults(run: StageRun, faults: "Sequence[SampleFault]", not_finite: Sequence[str]) -> dict[str, Any]:
    """faults.jsonl with a line for each thing that was left out, and how many there are by kind, as a metric."""
    lines = [{"sample": fault.sample, "kind": fault.kind, "message": str(fault)} for fault in faults]
    for id in dict.fromkeys(not_finite):  # once, however many epochs saw it
        message = f"sample {id}: the loss of a micro-batch with it is not finite"
        lines.append({"sample": id, "kind": "not_finite", "message": message})
    if run.rank == 0:
        (run.out / "faults.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    kinds = ("no_answer", "too_long", "not_finite")
    return {"faults": {kind: sum(line["kind"] == kind for line in lines) for kind in kinds}}


def sample_encoder(
    model: "SpatialLLMForConditionalGeneration", tokenizer, template: str, max_length: int, isolate: bool
) -> "SampleEncoder":
    """How conversations become tokens for this model, with a template of its own or stage 1's `plain`."""
    from model.samples import SampleEncoder
    from model.templates import build_template

    config = model.config
    built = build_template(template, tokenizer, config.system)
    return SampleEncoder(built, tokenizer, config.image_token_id, config.image_tokens, max_length, isolate)


def save_connector(model: "SpatialLLMForConditionalGeneration", out: Path) -> None:
    """Connector weights with a config.json that says what they fit."""
    from safetensors.torch import save_file

    save_file(model.connector.state_dict(), out / CONNECTOR_FILE, metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(_connector_facts(model), indent=1) + "\n")


def load_connector(model: "SpatialLLMForConditionalGeneration", folder: Path) -> None:
    """Put stage 1's connector into a model; InputError when it was trained for other parts."""
    from safetensors.torch import load_file

    stated, own = read_connector_facts(folder), _connector_facts(model)
    for key, value in own.items():
        if stated.get(key) != value:
            raise InputError(f"{folder}/config.json: {key} is {stated.get(key)!r}, but this design has {value!r}")
    model.connector.load_state_dict(load_file(folder / CONNECTOR_FILE))


def read_connector_facts(folder: Path) -> dict[str, Any]:
    """What stage 1 wrote about its connector."""
    return json.loads((folder / "config.json").read_text())


def _connector_facts(model: "SpatialLLMForConditionalGeneration") -> dict[str, Any]:
    config = model.config
    return {
        "connector": config.connector,
        "mixing": config.mixing,
        "grid": config.grid,
        "encoders": list(model.encoders),
        "input_width": sum(encoder.width for encoder in model.encoders.values()),
        "hidden_size": config.text_config.hidden_size,
    }


def save_model(model: "SpatialLLMForConditionalGeneration", tokenizer, out: Path) -> None:
    """A folder that `from_pretrained` loads as it is: config, weights, tokenizer, and where generation stops."""
    from model.samples import SampleEncoder
    from model.templates import build_template

    config = model.config
    closing = build_template(config.template, tokenizer, config.system).closing
    stop = SampleEncoder(build_template("plain", tokenizer), tokenizer, 0, 0, 0, True).ids(closing)[0]
    model.generation_config.eos_token_id = sorted({stop, tokenizer.eos_token_id})
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def load_model(folder: Path, device: str = "cpu") -> "tuple[SpatialLLMForConditionalGeneration, Any]":
    """A trained model in fp32 and its tokenizer, ready to answer."""
    import torch

    from model.llms import load_tokenizer
    from model.modeling import SpatialLLMForConditionalGeneration

    if not (folder / "config.json").exists():
        raise InputError(f"{folder}: no trained model here; train one with `spatialllm run DESIGN`")
    model = SpatialLLMForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model.eval().to(device), load_tokenizer(folder)
