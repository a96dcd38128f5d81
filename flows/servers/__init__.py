"""Servers of Prefect and MLflow on localhost, their UIs, and what a flow asks of Prefect's API."""
