"""The design space: a design and its name, the space of a sweep, and the plan of stage runs."""
