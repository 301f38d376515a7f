"""What was said: the store of chats, and which of it the model sees again."""
