"""Ballot receipts: leaves, Merkle log, checkpoints, and their offline verification."""
