"""Our own OCSP responder; it is given a key object, never a token."""
