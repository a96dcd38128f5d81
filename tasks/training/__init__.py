"""What the training stages share: data, features of frozen encoders, the machine, one training."""
