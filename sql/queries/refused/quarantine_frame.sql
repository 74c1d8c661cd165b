-- Keep a frame that does not parse.
-- Parameters: collector, segment text; end_offset, seq int8; received_at timestamptz; reason text; payload bytea.
insert into tickline.quarantined_frames (collector, segment, end_offset, seq, received_at, reason, payload)
values (%(collector)s, %(segment)s, %(end_offset)s, %(seq)s, %(received_at)s, %(reason)s, %(payload)s)
