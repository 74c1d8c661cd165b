-- A text that is the same for this database and its physical replicas, and for no other database.
-- Parameters: none. Columns: identity text. Expect: one row. Example: '7412345678901234567/ticks'
select system_identifier::text || '/' || current_database() as identity
from pg_control_system()
