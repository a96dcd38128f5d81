"""What is the machine's and no part of a result: the name of its figures, and the cards' peaks. Loads no torch."""

SYSTEM = "system/"  # begins the names of figures that are the machine's; MLflow shows them apart
# Dense bf16 FLOPs per second by a part of the card's name (NVIDIA's data sheets).
PEAK_FLOPS = {"A100": 312e12, "H100": 989e12, "H200": 989e12}
