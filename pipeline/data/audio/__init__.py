"""Places that audio is read from: a folder, a zip archive, a bucket."""
