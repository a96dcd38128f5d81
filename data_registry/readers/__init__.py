"""Readers of annotation and conversation files as others publish them, into Scene records and conversations."""
