"""The harness of every stage: claim, locks, progress, publishing whole outputs, and records."""
