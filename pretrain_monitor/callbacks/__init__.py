"""Adapters: each reads its framework's hooks, builds samples and obeys. Import the one you need."""
