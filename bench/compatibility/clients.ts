/** A client that others wrote, and the program that makes it do a help desk's work. */
export interface Client {
  readonly name: string;
  readonly kind: "driver" | "object mapper" | "tool";
  /** `npm`: the program is run beside these packages. `debian`: with them on its path. */
  readonly packages: { readonly npm: readonly string[] } | { readonly debian: readonly string[] };
  /** Whose version the table shows, where that is not the first package's. */
  readonly program: string;
  /** Run once in the folder of the client before its program: what generates code. */
  readonly prepare?: readonly string[];
}

/** The most used first. The versions are those that run on the Node that the project needs at least. */
export const CLIENTS: readonly Client[] = [
  npm(
    "node-postgres",
    "driver",
    "pg.mjs",
    "pg@8.23.1",
    "pg-cursor@2.22.1",
    "pg-query-stream@4.17.0",
    "pg-copy-streams@7.0.0",
  ),
  npm("postgres.js", "driver", "postgres-js.mjs", "postgres@3.4.9"),
  npm("pg-promise", "driver", "pg-promise.mjs", "pg-promise@12.7.1"),
  debian("psycopg 3", "driver", "psycopg3.py", "python3-psycopg"),
  debian("psycopg 2", "driver", "psycopg2_desk.py", "python3-psycopg2"),
  debian("asyncpg", "driver", "asyncpg_desk.py", "python3-asyncpg"),
  debian("JDBC", "driver", "Desk.java", "libpostgresql-jdbc-java"),
  debian("pgx 4", "driver", "pgx.go", "golang-go", "golang-github-jackc-pgx-v4-dev"),
  debian("lib/pq", "driver", "libpq.go", "golang-go", "golang-github-lib-pq-dev"),
  debian("ruby-pg", "driver", "ruby_pg.rb", "ruby-pg"),
  debian("PDO and pg_*", "driver", "pdo.php", "php8.2-pgsql", "php8.2-common", "php8.2-cli"),
  debian("DBD::Pg", "driver", "dbd.pl", "libdbd-pg-perl"),
  debian("pgtcl", "driver", "pgtcl.tcl", "libpgtcl", "tcl"),
  debian("psqlODBC", "driver", "odbc.py", "odbc-postgresql", "python3-pyodbc"),
  {
    ...npm(
      "Prisma",
      "object mapper",
      "prisma.mjs",
      "prisma@7.10.0",
      "@prisma/client@7.10.0",
      "@prisma/adapter-pg@7.10.0",
    ),
    prepare: ["env", "PRISMA_SCHEMA_ENGINE_BINARY=/bin/true", "npx", "prisma", "generate"],
  },
  npm("Drizzle", "object mapper", "drizzle.mjs", "drizzle-orm@0.45.4", "pg@8.23.1"),
  npm("Kysely", "object mapper", "kysely.mjs", "kysely@0.28.19", "pg@8.23.1"),
  npm(
    "Knex and Objection",
    "object mapper",
    "knex-objection.mjs",
    "knex@3.3.0",
    "objection@3.1.5",
    "pg-query-stream@4.17.0",
    "pg@8.23.1",
  ),
  npm(
    "TypeORM",
    "object mapper",
    "typeorm.mjs",
    "typeorm@1.1.1",
    "pg@8.23.1",
    "pg-query-stream@4.17.0",
    "reflect-metadata@0.2.2",
  ),
  npm("Sequelize", "object mapper", "sequelize.mjs", "sequelize@6.37.8", "pg@8.23.1"),
  npm("MikroORM", "object mapper", "mikro-orm.mjs", "@mikro-orm/core@6.6.16", "@mikro-orm/postgresql@6.6.16"),
  debian("Django", "object mapper", "django_desk.py", "python3-django", "python3-psycopg2"),
  debian("SQLAlchemy", "object mapper", "sqlalchemy_desk.py", "python3-sqlalchemy", "python3-psycopg2"),
  debian("Peewee", "object mapper", "peewee_desk.py", "python3-peewee", "python3-psycopg2"),
  debian("ActiveRecord", "object mapper", "active_record.rb", "ruby-activerecord", "ruby-pg"),
  debian("Sequel", "object mapper", "sequel.rb", "ruby-sequel", "ruby-pg"),
  npm("pg-boss", "tool", "pg-boss.mjs", "pg-boss@10.4.2"),
  debian("psql and its kin", "tool", "tools.sh", "postgresql-client-15", "postgresql-15"),
];

function npm(name: string, kind: Client["kind"], program: string, ...packages: readonly string[]): Client {
  return { name, kind, program, packages: { npm: packages } };
}

function debian(name: string, kind: Client["kind"], program: string, ...packages: readonly string[]): Client {
  return { name, kind, program, packages: { debian: packages } };
}
