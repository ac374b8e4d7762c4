"""Specs drafted from documents: ``document`` finds the equations, ``spec`` writes the draft."""
