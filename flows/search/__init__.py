"""The search of the design space with Optuna: study, rungs, trials, samplers and the report of a sweep."""
