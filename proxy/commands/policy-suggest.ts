import { parseArgs } from "node:util";
import pg from "pg";
import { controlConnection } from "../app/control.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { readComments } from "../catalog/column-comments.ts";
import { readCatalog } from "../catalog/snapshot.ts";
import { suggestPolicy } from "../suggest/suggest-policy.ts";
import { parseUpstream } from "../wire/upstream.ts";
import { complain, isWrong, misused, STANDARD, type Streams, type Wrong } from "./streams.ts";

const HELP = `usage: sluice policy suggest --upstream URI

Prints a policy to start from: tables about people and the person of their rows, classes of their columns, a role for
agents and one for applications, and "mode: observe". It reads only the catalog: names of tables and columns (in
English and German), types, comments and keys. It never reads a row, and needs no right on any table. Columns that it
is not sure about are masked, with a comment, until you decide.

  --upstream URI   the database (or SLUICE_UPSTREAM)

As in: sluice policy suggest --upstream postgresql://sluice@db.internal/support > mine.yaml
`;

/** `sluice policy suggest`: 0 when the policy is printed, 1 when the catalog cannot be read, 2 when misused. */
export async function policySuggest(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  const question = readQuestion(args, env);
  if (question === "help") {
    streams.output.write(HELP);
    return 0;
  }
  if (isWrong(question)) return complain("policy suggest", question, streams);
  const client = new pg.Client(question.connection);
  // Whatever comes after the failure that is thrown.
  client.on("error", () => {});
  let catalog: Catalog;
  let comments: ReadonlyMap<string, string>;
  try {
    await client.connect();
    catalog = await readCatalog(client);
    comments = await readComments(client);
  } catch (error) {
    const why = error instanceof Error ? error.message : "unknown";
    const problem = `the catalog of "${question.connection.database}" cannot be read: ${why}`;
    return complain("policy suggest", { problem, status: 1 }, streams);
  } finally {
    await client.end().catch(() => {});
  }
  streams.output.write(suggestPolicy(catalog, comments));
  return 0;
}

interface SuggestArguments {
  readonly connection: pg.ClientConfig & { readonly database: string };
}

function readQuestion(args: readonly string[], env: NodeJS.ProcessEnv): SuggestArguments | Wrong | "help" {
  let upstream: string | undefined;
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { upstream: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
    if (values.help) return "help";
    upstream = values.upstream ?? env.SLUICE_UPSTREAM;
  } catch (error) {
    return misused(error instanceof Error ? error.message : "these arguments are not understood");
  }
  if (upstream === undefined)
    return misused("--upstream: missing; name the database, as in postgresql://user@host/database");
  const target = parseUpstream(upstream, env);
  if (!target.ok) return misused(`--upstream: ${target.problem}`);
  const database = target.upstream.database ?? target.upstream.user;
  if (database === undefined) return misused("--upstream: names no database");
  return { connection: { ...controlConnection(target.upstream), database } };
}
