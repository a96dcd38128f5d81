"""From conversations to batches of tokens: templates, samples with a target flag per token, collation."""
