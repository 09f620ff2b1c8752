"""From film to shards of crops."""
