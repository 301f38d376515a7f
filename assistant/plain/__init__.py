"""The chat line by line, for screen readers, dumb terminals and pipes: no Textual, no escape sequences."""
