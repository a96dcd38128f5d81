"""Mixed precision on this CPU: a linear layer's step under our autocast beside torch's own, each in its own process."""

import subprocess
import sys

from benchmarks.bench import record

_ROWS, _WIDTH, _INNER = 2048, 160, 480  # an MLP of the tiny llama3-8b on a batch
_PROGRAM = f"""
import time, torch
from torch import nn
if {{ours}}:
    import model.layers.precision as precision
    units = precision.has_bf16_units()
torch.set_num_threads(1)
layer, x = nn.Linear({_WIDTH}, {_INNER}), torch.randn({_ROWS}, {_WIDTH}, requires_grad=True)

def step():
    with torch.autocast("cpu", torch.bfloat16, enabled={{bf16}}):
        layer(x).sum().backward()

step()
start, steps = time.process_time(), 0
while time.process_time() - start < 3:
    step()
    steps += 1
print(1000 * (time.process_time() - start) / steps)
"""


def main() -> None:
    """Measure and record; ten seconds on a core."""

    def milliseconds(ours: bool, bf16: bool) -> float:
        code = _PROGRAM.format(ours=ours, bf16=bf16)
        return float(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout)

    record(
        "precision",
        ours=round(milliseconds(True, True), 2),
        peer=round(milliseconds(False, True), 2),
        unit="ms of a core for a forward and backward pass of a linear layer in bf16",
        peer_name="torch's autocast",
        command="make bench-precision",
        higher_is_better=False,
        fp32_ms=round(milliseconds(False, False), 2),
        shape=[_ROWS, _WIDTH, _INNER],
    )


if __name__ == "__main__":
    main()
