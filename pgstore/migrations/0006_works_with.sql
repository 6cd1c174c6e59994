-- +goose Up

-- The oldest version of programs that work with these tables, besides programs of
-- the tables' own version; 0: no other. Programs of version 6 and later read it when
-- they start; running programs of version 5 go on.
ALTER TABLE {schema_version} ADD COLUMN works_with integer NOT NULL DEFAULT 0;

INSERT INTO {schema_version} (version, works_with) VALUES (6, 6);
