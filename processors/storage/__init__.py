"""PostgreSQL: a module an aggregate, the SQL beside its method; migrations as numbered files."""
