"""The chat in the terminal; the only part that touches Textual."""
