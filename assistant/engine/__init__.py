"""The part that touches llama.cpp: from messages to events."""
