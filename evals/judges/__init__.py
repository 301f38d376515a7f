"""Who says what a reply is: the words of a refusal, or a guard model on this machine."""
