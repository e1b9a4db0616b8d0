"""The demonstration: a login, its refusals and a ballot receipt, for real."""
