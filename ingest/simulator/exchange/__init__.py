"""A generated market: instruments, prices, trades, and the frames that show them."""
