"""Operations: how an operator sees the database and keeps it well. Must not know ticks, frames or the feed."""
