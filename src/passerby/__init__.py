"""Passerby recognises people on cameras that it has never seen."""
