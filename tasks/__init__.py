"""The stages of dvc.yaml, one module each: `python -m tasks.<stage> NAME`.
One OpenMP thread unless params.yaml says otherwise (`runtime.threads`): two on shared cores spin against each other."""

import os

from tasks.stage.user import name_user

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported, so before any stage module
name_user()
