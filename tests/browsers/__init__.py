"""The page and the bridges of `examples/browser_bridge`, in Chromium."""
