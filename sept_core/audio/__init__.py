"""Decoding, resampling and cropping of audio files."""
