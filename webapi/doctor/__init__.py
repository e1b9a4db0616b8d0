"""What `tamga doctor` looks at: a part of the wiring, since it asks every part of the service."""
