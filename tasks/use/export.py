"""A trained design as a folder for others: this project's own classes with their processor, or transformers' LLaVA.
The code behind `spatialllm export DESIGN FOLDER`; weights as safetensors, no code in the folder."""

from pathlib import Path

from data_registry.errors import InputError, nearest
from tasks.training import model_files

FORMATS = ("spatialllm", "llava")


def export(instruct: Path, folder: Path, kind: str) -> None:
    """Write model, tokenizer and processor.

    Args:
        instruct: output of an instruct run.
        folder: new or empty.
        kind: `spatialllm` (AutoModelForCausalLM and AutoProcessor, after `import model`) or `llava`.

    Raises:
        InputError: unknown kind, a folder with something in it, or a design that LLaVA cannot hold.
    """
    if kind not in FORMATS:
        raise InputError(f"export: unknown format {kind!r}; {nearest(kind, FORMATS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is no empty folder; name a new one")
    model, tokenizer = model_files.load_model(instruct)
    if kind == "llava":
        from model.export import llava_processor, to_llava

        processor, model = llava_processor(model, tokenizer), to_llava(model)
    else:
        from model.processing import SpatialLLMProcessor

        processor = SpatialLLMProcessor.of(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
