"""Fixtures of the embedding tests."""

from __future__ import annotations

from tests.model import real_embedder

__all__ = ["real_embedder"]
