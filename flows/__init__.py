"""When what runs: designs, flows of stage runs, searches, the command line. Alone knows Prefect and Optuna."""
