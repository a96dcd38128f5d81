"""DeepSpeed configurations by ZeRO stage, for the Trainer to fill in: ZeRO-2 in stages 0 and 1, ZeRO-3 in stage 2.
AdamW is torch's own, so that no operator is compiled at start: a kill in that minute leaves a lock that hangs."""

from typing import Any


def deepspeed_config(zero_stage: int) -> dict[str, Any]:
    """A configuration whose "auto" values the Trainer takes from its own arguments."""
    zero: dict[str, Any] = {"stage": zero_stage, "overlap_comm": True, "contiguous_gradients": True}
    if zero_stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "bf16": {"enabled": "auto"},
        "communication_data_type": "fp32",  # sums of many small bf16 gradients lose bits
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }
