"""Where audio is, how data sets are downloaded, and what ``sept data`` prepares."""
