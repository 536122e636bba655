"""Why an incident was told: the log replayed, and what trend, whitening and charts said of every sample around it."""
