"""Second step: impressions meet their contexts, partition by partition, and ids are counted."""
