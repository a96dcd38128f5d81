"""Layers in fewer passes over memory than transformers and peft make: attention of isolated turns, RMSNorm, rotary
embedding, LoRA. Each is compared with the original in the tests."""
