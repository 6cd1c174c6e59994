-- The oldest version of programs that work with these tables, besides programs of
-- the tables' own version; 0: no other.
ALTER TABLE {schema_version} ADD COLUMN works_with INTEGER NOT NULL DEFAULT 0;

INSERT INTO {schema_version} (version, works_with) VALUES (6, 6);
