"""SQLAlchemy Core tables and the stores that the signer asks for."""
