-- Which trace an event belongs to; null when there is none.
ALTER TABLE {events} ADD COLUMN trace TEXT;

INSERT INTO {schema_version} (version) VALUES (5);
