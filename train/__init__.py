"""Training of backtracking models: data, the supervised objective, and their commands (extra `train`)."""
