"""The world: one technology a file, each behind a protocol of `campaign.ports`."""
