"""Reads audio from a folder, a zip archive or a bucket."""
