"""Our own OCSP responder: pure, given a request, CAs with key objects, a status source, a time."""
