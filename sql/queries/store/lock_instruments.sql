-- Let nobody add or change instruments until the transaction ends: a key that is met in the feed between two steps of a
-- load would become an instrument beside the listed one. Readers are not delayed. No parameters.
lock table instruments in share row exclusive mode
