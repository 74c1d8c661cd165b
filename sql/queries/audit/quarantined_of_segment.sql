-- Frames of a segment that are in quarantine. Parameters: collector, segment text. Columns: seq int8.
select seq
from tickline.quarantined_frames
where
    collector = %(collector)s
    and segment = %(segment)s
