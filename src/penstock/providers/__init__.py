"""Answering: providers score texts, on this machine or over HTTP."""

from __future__ import annotations

from penstock.providers.provider import CATEGORIES, Finding, Provider, Scores

__all__ = ["CATEGORIES", "Finding", "Provider", "Scores"]
