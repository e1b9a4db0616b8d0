"""HTTP, storage, configuration and the command line."""
