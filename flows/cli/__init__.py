"""The command line `spatialllm`: one function for each verb."""
