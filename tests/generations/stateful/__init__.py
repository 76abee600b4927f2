"""The stateful model: random stories of callers, engines and time, checked after each step."""
