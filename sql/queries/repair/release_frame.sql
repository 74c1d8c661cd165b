-- Take a frame out of quarantine, in the transaction that writes its ticks.
-- Parameters: collector, segment text; end_offset int8. Columns: end_offset int8; no row: it was not in quarantine.
delete from tickline.quarantined_frames
where
    collector = %(collector)s
    and segment = %(segment)s
    and end_offset = %(end_offset)s
returning end_offset
