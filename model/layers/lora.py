"""peft's LoRA layer with fewer passes over memory on a GPU, where adapters otherwise take a third of a step."""

import torch
from peft.tuners.lora import Linear
from torch import nn


class FusedLora(Linear):
    """x Wᵀ + s · x Aᵀ Bᵀ, with each sum done inside a product, forward and backward.

    peft scales and adds in passes of their own over outputs that are as wide as the layer, and copies the input to the
    adapters' fp32, which autocast undoes. On a CPU it is peft's own layer, whose results are kept.
    """

    def forward(self, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        """(..., in) to (..., out)."""
        if x.device.type == "cpu" or args or kwargs or self.merged or self.disable_adapters:
            return super().forward(x, *args, **kwargs)
        return self.fused(x)

    def fused(self, x: torch.Tensor) -> torch.Tensor:
        """The same with one frozen weight and one adapter."""
        (name,) = self.active_adapters
        base, dropout = self.get_base_layer(), self.lora_dropout[name]
        rows = x.flatten(0, -2)
        dropped = None if isinstance(dropout, nn.Identity) else dropout(rows)
        out = _Adapted.apply(
            rows,
            dropped,
            base.weight,
            base.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
        )
        return out.view(*x.shape[:-1], out.shape[-1])


class _Adapted(torch.autograd.Function):
    """x (n, in), dropped the adapter's input where it is another, weight (out, in), a (r, in), b (out, r)."""

    @staticmethod
    def forward(ctx, x, dropped, weight, bias, a, b, scaling):
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight, a, b = (tensor.to(dtype) for tensor in (x, weight, a, b))
            dropped, bias = (tensor if tensor is None else tensor.to(dtype) for tensor in (dropped, bias))
        with torch.autocast(x.device.type, enabled=False):
            seen = x if dropped is None else dropped
            low = seen @ a.T
            out = nn.functional.linear(x, weight, bias).addmm_(low, b.T, alpha=scaling)
        ctx.save_for_backward(seen, low, weight, a, b)
        ctx.scaling, ctx.shared = scaling, dropped is None
        return out

    @staticmethod
    def backward(ctx, grad):
        seen, low, weight, a, b = ctx.saved_tensors
        grad_low = (grad @ b).mul_(ctx.scaling)
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        grad_dropped = None
        if not ctx.shared:
            grad_dropped = grad_low @ a
        elif grad_x is not None:
            grad_x.addmm_(grad_low, a)
        return grad_x, grad_dropped, None, None, grad_low.T @ seen, (grad.T @ low).mul_(ctx.scaling), None
