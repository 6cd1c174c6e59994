-- +goose Up

-- The trace that an event belongs to; null, which takes no space, without a trace.
-- Running programs of version 3 go on: they do not use the column.
ALTER TABLE {events} ADD COLUMN trace text COLLATE "C";

INSERT INTO {schema_version} (version) VALUES (4);
