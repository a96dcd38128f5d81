"""What a flow records in the trackers (MLflow): parent runs, designs, the winner in the model registry."""
