"""How nodes measure their own health, exchange it, and judge each other by it."""
