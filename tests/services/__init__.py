"""Real servers for tests, and the devices that break them: each is started by a fixture, and reaped by it."""
