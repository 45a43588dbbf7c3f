import { execFile } from "node:child_process";
import { cp } from "node:fs/promises";
import { extname, join, resolve } from "node:path";
import { promisify } from "node:util";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import { createRoles, databaseOn, startPostgres, supportSchema } from "../../test/harness/postgres.ts";
import { startProxy, type TestProxy } from "../../test/harness/proxy.ts";
import { installFromDebian, installFromNpm } from "./install.ts";

/*
 * `npm run compat:people`: three people behind one application, as frameworks name them; each is charged what they were shown.
 * Prints the rows of the table in docs/compatibility.md, "People behind applications".
 */

const run = promisify(execFile);
const PROGRAMS = resolve("bench/compatibility/desk-day");

interface Framework {
  readonly name: string;
  readonly program: string;
  readonly named: string;
  readonly packages: { readonly npm: readonly string[] } | { readonly debian: readonly string[] };
}

const SETTING = "`set_config` in a transaction";
const FRAMEWORKS: readonly Framework[] = [
  npm("Knex", "knex.mjs", "knex@3.3.0", "pg@8.23.1"),
  npm("Drizzle", "drizzle.mjs", "drizzle-orm@0.45.4", "pg@8.23.1"),
  npm("Kysely", "kysely.mjs", "kysely@0.28.19", "pg@8.23.1"),
  npm("TypeORM", "typeorm.mjs", "typeorm@1.1.1", "reflect-metadata@0.2.2", "pg@8.23.1"),
  debian("Django", "django_day.py", "sqlcommenter's comment", "python3-django", "python3-psycopg2"),
  debian(
    "SQLAlchemy",
    "sqlalchemy_day.py",
    "sqlcommenter's comment",
    "python3-sqlalchemy",
    "python3-psycopg2",
  ),
  debian("Rails", "rails_day.rb", "comment of query logs", "ruby-activerecord", "ruby-pg", "ruby"),
];

function npm(name: string, program: string, ...packages: readonly string[]): Framework {
  return { name, program, named: SETTING, packages: { npm: packages } };
}

function debian(name: string, program: string, named: string, ...packages: readonly string[]): Framework {
  return { name, program, named, packages: { debian: packages } };
}

const PEOPLE = ["anna", "ben", "cleo"];
/** Pages of each person beside the other two's, and no customer twice. */
const PLAN = Array.from({ length: 60 }, (_, i) => [PEOPLE[i % 3], 10 * i + 1, 10 * i + 1 + (i % 9)] as const);

const POLICY = `version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [], reads: [public.customers], budget: { 1h: 1000 } }
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    people_behind: [{ setting: app.agent }, { comment: user }]
    unnamed: { budget: { 1h: 5 } }
`;
const WAYS = [
  ["watched", `${POLICY}    watch: true\n    budget: { 1h: 1000 }\n`],
  ["acts_as", `${POLICY}    acts_as: agent\n`],
] as const;

async function main(): Promise<void> {
  const server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  const database = await databaseOn(server.uri, "desk");
  await supportSchema(database.uri);
  let isRight = true;
  for (const framework of FRAMEWORKS) {
    const cells: string[] = [];
    for (const [, policy] of WAYS) {
      const proxy = await startProxy(database, { policy });
      const cell = await dayOf(framework, proxy).catch(
        (error: Error) => `not tried: ${error.message.slice(0, 80)}`,
      );
      if (!/^\d+ \/ \d+ \/ \d+$/.test(cell)) isRight = false;
      cells.push(cell);
      await proxy.close();
    }
    process.stdout.write(`| ${framework.name} | ${framework.named} | ${cells.join(" | ")} |\n`);
  }
  await database.drop();
  await server.stop();
  if (!isRight) process.exitCode = 1;
}

/** How many people each was shown, where the log has them as charged to that person, and nobody else. */
async function dayOf({ program, packages }: Framework, proxy: TestProxy): Promise<string> {
  const installed =
    "npm" in packages ? await installFromNpm(packages.npm) : await installFromDebian(packages.debian);
  await cp(PROGRAMS, installed.folder, { recursive: true });
  const { stdout } = await run(interpreter(program), [join(installed.folder, program)], {
    cwd: installed.folder,
    env: {
      ...process.env,
      ...installed.environment,
      ...{ DESK_URI: proxy.uri("helpdesk_app"), DESK_PLAN: JSON.stringify(PLAN) },
    },
    timeout: 120_000,
  });
  const shown = new Map<string, number>();
  for (const line of stdout.trim().split("\n")) {
    const [person, ids] = JSON.parse(line) as [string, number[]];
    shown.set(person, (shown.get(person) ?? 0) + ids.length);
  }
  const charged = new Map<string, number>();
  for (const event of proxy.events.filter((each): each is StatementEvent => each.kind === "statement"))
    if (event.people > 0) charged.set(event.user, (charged.get(event.user) ?? 0) + event.people);
  const said = [...shown].sort().join();
  if (said !== [...charged].sort().join()) return `shown ${said}; charged ${[...charged].sort().join()}`;
  return PEOPLE.map((person) => shown.get(person) ?? 0).join(" / ");
}

function interpreter(program: string): string {
  switch (extname(program)) {
    case ".py":
      return "/usr/bin/python3";
    case ".rb":
      return "ruby";
    default:
      return process.execPath;
  }
}

await main();
