"""`python -m flows.cli` is `spatialllm`."""

from flows.cli.main import app

app()
