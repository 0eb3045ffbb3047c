-- Runs at every start, as the superuser: the role and the database that Zeitwork uses.
-- The role is an ordinary one, so that row-level security binds it.

-- A statement that fails is not to carry its password into the server's log.
SET log_min_error_statement = panic;
SET log_statement = none;

\getenv password ZW_ROLE_PASSWORD

SELECT 'CREATE ROLE zeitwork' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'zeitwork')
\gexec
ALTER ROLE zeitwork LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
    PASSWORD :'password';

SELECT 'CREATE DATABASE zeitwork OWNER zeitwork'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'zeitwork')
\gexec
