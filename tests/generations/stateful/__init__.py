"""The stateful model: random sequences of actions of callers, engines and time, checked after each step."""
