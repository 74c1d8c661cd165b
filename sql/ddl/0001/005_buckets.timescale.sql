-- Start of the bucket that contains a time. The planner inlines the body, and then a condition on the bucket excludes
-- chunks.
create function tickline.bucket_1m(at timestamptz) returns timestamptz
language sql immutable strict parallel safe
return time_bucket('1 minute', at);

create function tickline.bucket_5m(at timestamptz) returns timestamptz
language sql immutable strict parallel safe
return time_bucket('5 minutes', at);
