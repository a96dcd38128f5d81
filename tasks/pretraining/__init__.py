"""Foundation models: tiny ones trained here, others from installed packages or the Hugging Face hub."""
