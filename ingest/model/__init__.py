"""The nouns: tick columns, frames and updates, journal records, findings beside the rows. Pure data."""
