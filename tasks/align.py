"""Stage 1, alignment: only the connector trains, on captions, between frozen encoders and LLM.
`python -m tasks.align NAME` writes the connector: config.json and model.safetensors."""

from dataclasses import dataclass

from data_registry.errors import InputError
from tasks import lmm
from tasks.stage import Metrics, StageRun, main


@dataclass(frozen=True)
class Params(lmm.TrainParams):
    """params.yaml: align.

    Attributes:
        connector: kind of connector (`model/connector.py`).
        mixing: how features of several encoders become one sequence.
        template: `plain` (captions without their questions, as LLaVA does) or `own`, the LLM's conversation template.
    """

    connector: str
    mixing: str
    template: str


def compute(run: StageRun) -> Metrics:
    """Train the connector of one combination of encoders, LLM and captions."""
    params = run.parse(Params)
    lmm.prepare(run)
    from model.training import freeze_all_but

    encoders = lmm.load_encoders(run)
    model, tokenizer = lmm.assemble(run, encoders, params.connector, params.mixing)
    found = lmm.read_conversations(run, params.fraction, params.mix)
    seen = [each for each in found if each.image is not None]
    if not seen:
        raise InputError(f"align {run.name}: none of its samples has an image, so the connector has nothing to learn")
    trained = freeze_all_but(model, model.connector)
    images = lmm.images_of(run, encoders, params.bf16)
    template = model.config.template if params.template == "own" else params.template
    metrics = lmm.fit(run, params, model, tokenizer, images, seen, template)
    lmm.save_connector(model, run.out)
    return {**metrics, "trained_parameters": trained, "dropped_without_image": len(found) - len(seen)}


if __name__ == "__main__":
    main("align", compute)
