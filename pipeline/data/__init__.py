"""Reads audio from where it is, downloads data sets, and prepares them (``sept data``)."""
