"""The web role over real HTTP, with a real directory, a small real media face, and a real browser."""
