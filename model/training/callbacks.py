"""The Trainer's callback that passes on logs and progress, and marks checkpoints once they are whole."""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import TrainerCallback

from model.training.checkpoints import mark_complete
from model.training.meter import Meter
from model.training.recipe import Monitor


class Reporter(TrainerCallback):
    """Passes on logs and progress, marks checkpoints once they are whole, and ends a training at step `stop`."""

    def __init__(self, meter: Meter, monitor: Monitor, stop: int, on_epoch: Callable[[int], None]) -> None:
        self.meter, self.monitor, self.stop, self.on_epoch = meter, monitor, stop, on_epoch

    def on_train_begin(self, args, state, control, **kwargs):
        self.meter.read()  # what came before was no training

    def on_epoch_begin(self, args, state, control, **kwargs):
        # The Trainer does not reach our order through the two wrappers around it, where several processes resume.
        self.on_epoch(state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.monitor.on_log and "loss" in logs:
            values = {k: logs[k] for k in ("loss", "learning_rate", "grad_norm") if k in logs}
            self.monitor.on_log(state.global_step, values | self.meter.read())

    def on_step_end(self, args, state, control, **kwargs):
        last = state.global_step == self.stop
        # What goes on after a stop has the lines of an unbroken training: none is added, unless there is none yet.
        control.should_log |= last and (self.stop == state.max_steps or not state.log_history)
        if last and self.stop < state.max_steps:
            control.should_save = control.should_training_stop = True
        if self.monitor.on_progress:
            self.monitor.on_progress(state.global_step, self.stop)

    def on_save(self, args, state, control, **kwargs):
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()  # each rank writes its share of the optimizer's state
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
