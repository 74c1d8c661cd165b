-- Key and expiry of all instruments. Columns: instrument_id int4, instrument_key text, expiry date. Expect: 80,000 rows.
select
    instrument_id,
    instrument_key,
    expiry
from instruments
