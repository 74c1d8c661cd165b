"""Data types: tick columns, frames and updates, journal records, findings stored beside the ticks. Pure data."""
