"""Stage 2, instruction tuning: connector and LLM train on conversations, encoders stay frozen.
`python -m tasks.instruct NAME` writes a whole model that `from_pretrained` loads, with its tokenizer."""

from dataclasses import dataclass

from tasks import lmm
from tasks.stage import Metrics, StageRun, main


@dataclass(frozen=True)
class Params(lmm.TrainParams):
    """params.yaml: instruct."""


def compute(run: StageRun) -> Metrics:
    """Train one design's connector and LLM; a blind design's LLM alone, on the same conversations without images."""
    params = run.parse(Params)
    lmm.prepare(run)
    from model.training import freeze_all_but

    encoders = lmm.load_encoders(run)
    if encoders:
        facts = lmm.read_connector_facts(run.inputs["align"])
        model, tokenizer = lmm.assemble(run, encoders, facts["connector"], facts["mixing"])
        lmm.load_connector(model, run.inputs["align"])
        trained = freeze_all_but(model, model.connector, model.language_model)
    else:
        model, tokenizer = lmm.assemble(run, encoders)
        trained = freeze_all_but(model, model.language_model)
    found = lmm.read_conversations(run, params.fraction, run.parts.get("shares"))
    images = lmm.images_of(run, encoders, params.bf16)
    metrics = lmm.fit(run, params, model, tokenizer, images, found, template=model.config.template)
    lmm.save_model(model, tokenizer, run.out)
    return {**metrics, "trained_parameters": trained}


if __name__ == "__main__":
    main("instruct", compute)
