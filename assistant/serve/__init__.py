"""`takeback serve`: a local endpoint that programs made for OpenAI's chat completions can talk to."""
