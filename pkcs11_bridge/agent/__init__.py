"""The citizen's program: proves the service, asks the PIN, signs the challenge."""
