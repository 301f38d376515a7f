"""What the Tab key offers in a shell."""
