"""What determines the result of a stage run: settings, identity, manifest, and where its files are."""
