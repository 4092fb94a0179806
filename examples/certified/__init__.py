"""Certified predictions on real questions: how many hostile accounts cannot change an answer."""
