"""Attacks that see a model's weights and its gradients. They need the extra `attacks`: import them late."""
