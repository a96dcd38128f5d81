"""The large multimodal model: encoders, connector, LLM, conversations, training and decoding.
It knows no folders of the study, no stages and no trackers; `tasks` does."""
