import type { Client } from "../clients.ts";

/** How an application says for whom it reads. Each is a source of `people_behind` in day/world.ts. */
export type Naming = "setting" | "claims" | "comment" | "role" | "extension";

/** A framework with a program for a day at the desk, and the ways in which its applications name people. */
export interface DayClient extends Client {
  readonly namings: readonly Naming[];
  /** Its programs know people by numbers. */
  readonly isNumbered?: boolean;
  /** Its programs set what a guarded account may not: they are for watched accounts alone. */
  readonly isWatchedOnly?: boolean;
}

export const DAY_CLIENTS: readonly DayClient[] = [
  npm("Knex", "knex.mjs", ["setting", "comment", "role"], "knex@3.3.0", "pg@8.23.1"),
  npm("Kysely", "kysely.mjs", ["setting", "comment", "role"], "kysely@0.28.19", "pg@8.23.1"),
  npm("Drizzle", "drizzle.mjs", ["setting", "comment", "claims"], "drizzle-orm@0.45.4", "pg@8.23.1"),
  npm(
    "TypeORM",
    "typeorm.mjs",
    ["setting", "comment", "role"],
    ...["typeorm@1.1.1", "pg@8.23.1", "reflect-metadata@0.2.2"],
  ),
  {
    ...npm(
      "Prisma",
      "prisma.mjs",
      ["setting", "extension", "comment"],
      ...["prisma@7.10.0", "@prisma/client@7.10.0", "@prisma/adapter-pg@7.10.0"],
      ...["@prisma/sqlcommenter-query-tags@7.10.0", "@prisma/sqlcommenter-trace-context@7.10.0"],
    ),
    prepare: [
      ...["env", "PRISMA_SCHEMA_ENGINE_BINARY=/bin/true"],
      ...["npx", "prisma", "generate", "--schema", "day/prisma/schema.prisma"],
    ],
  },
  npm(
    "MikroORM",
    "mikro-orm.mjs",
    ["setting", "comment", "role"],
    ...["@mikro-orm/core@6.6.16", "@mikro-orm/postgresql@6.6.16"],
  ),
  npm("Sequelize", "sequelize.mjs", ["setting", "comment", "role"], "sequelize@6.37.8", "pg@8.23.1"),
  debian(
    "SQLAlchemy",
    "sqlalchemy_day.py",
    ["setting", "comment", "role"],
    ...["python3-sqlalchemy", "python3-psycopg2"],
  ),
  debian(
    "Django",
    "django_day.py",
    ["setting", "comment", "role"],
    ...["python3-django", "python3-psycopg2"],
  ),
  debian(
    "ActiveRecord",
    "active_record.rb",
    ["setting", "comment", "role"],
    ...["ruby-activerecord", "ruby-pg", "ruby-marginalia", "ruby-railties"],
  ),
  debian("Sequel", "sequel.rb", ["setting", "comment", "role"], "ruby-sequel", "ruby-pg"),
  { ...npm("Statements of PostgREST", "postgrest.mjs", ["claims"], "pg@8.23.1"), isWatchedOnly: true },
  { ...npm("Questions of Metabase", "metabase.mjs", ["comment"], "pg@8.23.1"), isNumbered: true },
];

function npm(
  name: string,
  program: string,
  namings: readonly Naming[],
  ...packages: readonly string[]
): DayClient {
  return { name, kind: "object mapper", program: `day/${program}`, packages: { npm: packages }, namings };
}

function debian(
  name: string,
  program: string,
  namings: readonly Naming[],
  ...packages: readonly string[]
): DayClient {
  return { name, kind: "object mapper", program: `day/${program}`, packages: { debian: packages }, namings };
}
