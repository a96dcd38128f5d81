"""Stage 2, instruction tuning: connector and LLM train on conversations, in full or by LoRA; encoders stay frozen.
`python -m tasks.instruct NAME` writes a whole model that `from_pretrained` loads, with its tokenizer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_registry import ranges
from tasks.stage.harness import Metrics, StageRun, main
from tasks.training import fit, image_lookup, machine, mix_reader, model_files, params

if TYPE_CHECKING:
    from model.modeling import SpatialLLMForConditionalGeneration


@dataclass(frozen=True)
class Params(params.TrainParams):
    """params.yaml: instruct.

    Attributes:
        lora: rank of adapters on the LLM's linear layers, merged into it when they are trained; 0: all of it trains.
        lora_alpha, lora_dropout: of the adapters.
        lora_lr: their learning rate; `lr` is then the connector's.
    """

    lora: ranges.Natural = 0
    lora_alpha: ranges.NotNegative = 0.0
    lora_dropout: ranges.Dropout = 0.0
    lora_lr: ranges.NotNegative = 0.0


def compute(run: StageRun) -> Metrics:
    """Train one design's connector and LLM; a blind design's LLM alone, on the same conversations without images."""
    params = run.parse(Params)
    machine.prepare(run)
    from model.training.adaptation import merge_lora
    from model.training.frozen import freeze_all_but

    encoders = model_files.load_encoders(run)
    if encoders:
        facts = model_files.read_connector_facts(run.input("align"))
        model, tokenizer = model_files.assemble(run, encoders, facts["connector"], facts["mixing"])
        model_files.load_connector(model, run.input("align"))
    else:
        model, tokenizer = model_files.assemble(run, encoders)
    learners = [model_files.connector_of(model)] if encoders else []
    if params.lora:
        _add_adapters(run, params, model, learners)
    else:
        freeze_all_but(model, *learners, model.language_model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    conversations = mix_reader.read_conversations(run, params.fraction, params.mix)
    images = image_lookup.images_of(run, encoders, params.bf16)
    metrics = fit.fit(run, params, model, tokenizer, images, conversations, template=model.config.template)
    if params.lora:
        metrics["adapted_layers"] = merge_lora(model.language_model)
    if run.rank == 0:
        model_files.save_model(model, tokenizer, run.out)
    return {**metrics, "trained_parameters": trained}


def _add_adapters(run: StageRun, params: Params, model: "SpatialLLMForConditionalGeneration", learners: list) -> None:
    import torch

    from model.training.adaptation import LLM_LINEARS, Lora, add_lora
    from model.training.frozen import freeze_all_but

    torch.manual_seed(run.seed)  # the adapters' random start
    lora = Lora(params.lora, params.lora_alpha, params.lora_dropout)
    adapters = add_lora(model.language_model, lora, LLM_LINEARS)
    freeze_all_but(model, *learners)
    for p in adapters:
        p.requires_grad_(True)


if __name__ == "__main__":
    main("instruct", compute, shared=lambda parts: True)
