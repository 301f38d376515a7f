"""The models on this machine, and the one that Takeback builds for itself."""
