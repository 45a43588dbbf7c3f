/**
 * How long it takes to find out who the people are whom a user read (`sluice audit read-by --upstream`): all ids of a table
 * are fetched and hashed. `npm run bench:compile && node dist/bench/bench/read-by.js --ids 12000000`.
 */
import { parseArgs } from "node:util";
import { auditKeys } from "../proxy/audit/audit-keys.ts";
import { identify } from "../proxy/audit/identify.ts";
import { allIds, peopleTable } from "../proxy/audit/people-table.ts";
import { withDatabase } from "./database.ts";

const NAMESPACE = "public.bench_people.id";
const READ = 3_573;

const { values } = parseArgs({ options: { ids: { type: "string", default: "12000000" } } });
const count = Number(values.ids);
const keys = auditKeys(Buffer.alloc(32, 1));

await withDatabase(async (client) => {
  await client.query(
    `CREATE TEMP TABLE bench_people AS SELECT i::bigint AS id FROM generate_series(1, ${count}) i`,
  );
  const [schema] = (
    await client.query<{ name: string }>(
      "SELECT nspname AS name FROM pg_namespace WHERE oid = pg_my_temp_schema()",
    )
  ).rows;
  await client.query("BEGIN READ ONLY");
  const read = Array.from({ length: READ }, (_, i) => ({
    subject: keys.hashSubject(NAMESPACE, String(1 + Math.floor((i * count) / READ))),
    ...{ first: 0, last: 0, statements: 1, classes: [], unsaid: false, explained: 0, unexplained: 0 },
  }));
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  const table = await peopleTable(client, NAMESPACE.replace("public", schema?.name ?? ""));
  const people = await identify(read, allIds(client, table), NAMESPACE, [keys]);
  const { user, system } = process.cpuUsage(cpu);
  const found = people.filter(({ id }) => id !== undefined).length;
  process.stdout.write(
    `${count} ids: ${((performance.now() - began) / 1000).toFixed(1)} s, ${((user + system) / 1e6).toFixed(1)} s of processor time; ${found} of ${READ} found\n`,
  );
});
