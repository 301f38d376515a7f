"""From a checkpoint to a GGUF file whose reset token still works, and the proof that it does."""
