-- +goose Up

-- Which trace an event belongs to; null, which takes no room, when there is
-- none. Programs of version 3 that run already go on: they neither read nor
-- write it.
ALTER TABLE {events} ADD COLUMN trace text COLLATE "C";

INSERT INTO {schema_version} (version) VALUES (4);
