"""Foundation models whose weights an installed Python package carries: what the small scale starts from.
The file is read from the package, checked against its digest, and written as safetensors; nothing of it is imported."""

import hashlib
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from data_registry.errors import InputError, nearest
from tasks.stage.harness import StageRun


@dataclass(frozen=True)
class Params:
    """params.yaml: foundation, of a model in a package.

    Attributes:
        package, version: as pip names them.
        file: the weights inside the package, from its site-packages folder on.
        sha256: of that file.
    """

    package: str
    version: str
    file: str
    sha256: str


def compute(run: StageRun) -> dict[str, Any]:
    """Write the model as a transformers folder; returns where it came from and how many parameters it has."""
    params = run.parse(Params)
    file = weights_file(params)
    kinds = {".gguf": _language_model, ".pth": _efficientnet}
    if file.suffix not in kinds:
        raise InputError(
            f"params.yaml: foundation.{run.scale}.each.{run.name}.file: {file.suffix!r} is no format that is read; "
            f"{nearest(file.suffix, kinds)}"
        )
    return {**asdict(params), "parameters": kinds[file.suffix](file, run.out)}


def weights_file(params: Params) -> Path:
    """The file inside the installed package.

    Raises:
        InputError: the package is not installed, has another version, or the file is not the one that was pinned.
    """
    where = f"params.yaml: foundation: {params.package} {params.version}"
    try:
        package = metadata.distribution(params.package)
    except metadata.PackageNotFoundError:
        raise InputError(f"{where} is not installed; `make small` installs the packages of the small scale") from None
    if package.version != params.version:
        raise InputError(f"{where}: version {package.version} is installed; `make small` installs the pinned one")
    file = Path(str(package.locate_file(params.file)))
    if not file.is_file():
        raise InputError(f"{file}: not in {params.package} {params.version}; correct `file` in params.yaml: foundation")
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != params.sha256:
        raise InputError(
            f"{file}: its sha256 is {digest}, params.yaml: foundation says {params.sha256}; install {params.package} "
            f"{params.version} anew, or name this digest if you trust the file"
        )
    return file


def _language_model(file: Path, out: Path) -> int:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # What was read counts as quantised, though its weights are plain numbers by now: a model of its own forgets that.
    fields = {key: value for key, value in read.config.to_dict().items() if key != "quantization_config"}
    llm = AutoModelForCausalLM.from_config(type(read.config)(**fields | {"_name_or_path": file.stem}))
    llm.load_state_dict(read.state_dict())
    llm.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return llm.num_parameters()


def _efficientnet(file: Path, out: Path) -> int:
    import torch

    from model.backbones.efficientnet import EfficientNetLiteConfig, EfficientNetLiteModel, folded

    weights = torch.load(file, map_location="cpu", weights_only=True)
    tower = EfficientNetLiteModel(EfficientNetLiteConfig())
    tower.load_state_dict(folded(weights))
    tower.save_pretrained(out)
    return tower.num_parameters()
