-- The start of the bucket that a time is in. The planner puts the body in place of the call and
-- then knows which chunks a condition on it needs.
create function tickline.bucket_1m(at timestamptz) returns timestamptz
language sql immutable strict parallel safe
return time_bucket('1 minute', at);

create function tickline.bucket_5m(at timestamptz) returns timestamptz
language sql immutable strict parallel safe
return time_bucket('5 minutes', at);
