"""The audit log: what keys were allowed to sign, sealed in a log of its own for each realm."""
