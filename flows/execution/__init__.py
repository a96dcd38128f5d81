"""A plan being run: the Prefect flow, its child processes, slots of GPUs and cores, leases and retries."""
