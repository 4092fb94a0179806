"""A bank's intent assistant that retrains on its users' corrections."""
