"""Pretraining of the tiny foundation models, stand-ins of what the paper starts from: three encoders and two Llamas.
Losses, batches and optimisers only; what is read and written is the business of `tasks.foundation`."""
