"""peft's LoRA layer with fewer passes over memory on a GPU, where adapters otherwise take a third of a step."""

import torch
from peft.tuners.lora import Linear


class FusedLora(Linear):
    """x Wᵀ + s · x Aᵀ Bᵀ, with the sum done inside the last product.

    peft scales and adds in passes of their own over outputs that are as wide as the layer, and copies the input to the
    adapters' fp32, which autocast undoes. On a CPU it is peft's own layer, whose results are kept.
    """

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """(..., in) to (..., out)."""
        if x.device.type == "cpu" or args or kwargs or self.merged or self.disable_adapters:
            return super().forward(x, *args, **kwargs)
        result = self.base_layer(x)
        for name in self.active_adapters:
            result = add_update(
                result,
                self.lora_A[name](self.lora_dropout[name](x)),
                self.lora_B[name].weight,
                self.scaling[name],
            )
        return result


def add_update(result: torch.Tensor, low: torch.Tensor, up: torch.Tensor, scaling: float) -> torch.Tensor:
    """result (..., out) + scaling · low (..., r) @ up (out, r)ᵀ."""
    flat = torch.addmm(result.flatten(0, -2), low.flatten(0, -2), up.T, alpha=scaling)
    return flat.view(result.shape)
