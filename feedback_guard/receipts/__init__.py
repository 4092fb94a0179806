"""Receipts: what was served to whom, signed, so that feedback can be held against it. Nothing here knows HTTP."""
