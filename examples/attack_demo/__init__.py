"""The demo: one stream of corrections with three attacks in it, sent to the assistant with and without the guard."""
