"""`tamga key`: the life of the service's keys, from their making in the token to retirement."""
