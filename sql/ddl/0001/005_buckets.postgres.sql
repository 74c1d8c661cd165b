-- Start of the bucket that contains a time.
create function tickline.bucket_1m(at timestamptz) returns timestamptz
language sql immutable strict parallel safe
return date_bin('1 minute', at, timestamptz '2000-01-01 00:00:00+00');

create function tickline.bucket_5m(at timestamptz) returns timestamptz
language sql immutable strict parallel safe
return date_bin('5 minutes', at, timestamptz '2000-01-01 00:00:00+00');
