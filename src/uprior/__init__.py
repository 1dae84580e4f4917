"""Pre-train transformers on random computation, before any real data is seen, and measure what that buys."""
