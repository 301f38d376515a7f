"""A local chat assistant whose model can take back what it has begun to say."""
