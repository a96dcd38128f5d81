"""DeepSpeed by ZeRO stage, through the Trainer: ZeRO-2 in stages 0 and 1, ZeRO-3 in stage 2 at paper scale.
Without a launcher a single process makes up its own world, and on a CPU no operator is compiled at start."""

import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def deepspeed_config(zero_stage: int) -> dict[str, Any]:
    """A configuration whose "auto" values the Trainer takes from its own arguments."""
    zero: dict[str, Any] = {"stage": zero_stage, "overlap_comm": True, "contiguous_gradients": True}
    if zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "bf16": {"enabled": "auto"},
        # Sums of many small gradients lose bits in bf16, over ranks and over micro-batches.
        "communication_data_type": "fp32",
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # ours is torch's own AdamW
        "zero_force_ds_cpu_optimizer": False,
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def prepare_deepspeed(cpu: bool) -> None:
    """Set up what DeepSpeed expects before the first use in this process.

    Its start looks for a launcher's variables, and for MPI where there are none; a kill while it compiles an
    operator leaves a lock on which the next start waits for ever.
    """
    if "RANK" not in os.environ:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({key: str(value) for key, value in world.items()})
    if cpu:
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__.update(dict.fromkeys(deepspeed.ops.__compatible_ops__, False))


def leave_deepspeed() -> None:
    """Let this process make models as if there were no DeepSpeed: transformers would cut up all of them for ZeRO-3."""
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def unpartition(engine: Any, model: "nn.Module") -> None:
    """Take a trained model out of ZeRO-3, in place: whole parameters on the CPU of every rank, no hooks.

    While ZeRO-3 trains, each rank holds a share of every parameter, and what is saved or merged would be empty.
    All ranks must call it.

    Args:
        engine: the DeepSpeed engine that trained the model; it cannot train on.
    """
    import deepspeed
    from torch import nn

    whole: dict[int, nn.Parameter] = {}
    held = [(module, dict(module._parameters.items())) for module in model.modules()]
    for _, parameters in held:
        for p in parameters.values():
            if p is not None and hasattr(p, "ds_id") and id(p) not in whole:
                with deepspeed.zero.GatheredParameters([p]):
                    whole[id(p)] = nn.Parameter(p.detach().cpu().clone(), p.requires_grad)
    engine.destroy()
    for module, parameters in held:
        # A plain dictionary again: ZeRO's own gathers whatever is read from it.
        module._parameters = {name: whole.get(id(p), p) for name, p in parameters.items()}
