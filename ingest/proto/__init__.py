"""Generated protobuf classes of the feed; `make proto` makes them from `upstox_feed_v3.proto`."""
