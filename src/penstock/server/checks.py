"""What the health report looks at: the cache's tiers, the database, the provider."""
