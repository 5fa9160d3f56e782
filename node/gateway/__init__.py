"""How devices' words reach the intake."""
