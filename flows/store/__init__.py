"""DVC underneath a flow: what is there, restore, commit, push, pull, garbage, and views of metrics."""
