"""What the model does with prompts that ask for harm and with those that do not, and how fast it does it."""
