"""Lives that change, by the published protocol of Continual Gym Control and with other changes."""
