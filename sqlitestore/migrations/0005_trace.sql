-- The trace that an event belongs to; null without a trace.
ALTER TABLE {events} ADD COLUMN trace TEXT;

INSERT INTO {schema_version} (version) VALUES (5);
