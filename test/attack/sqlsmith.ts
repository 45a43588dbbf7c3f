import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type pg from "pg";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import { builtinUse } from "../../proxy/sql/functions.ts";
import { findProgram } from "../harness/debian.ts";

export const sqlsmith = await findProgram("sqlsmith").catch(() => undefined);
if (sqlsmith === undefined) console.log("sqlsmith is not here and cannot be unpacked: left out");

/**
 * Takes out of this one database what no guarded role may call or read, so that sqlsmith does not name it in
 * nine of ten statements: what is let through is what is to be tried. Sluice looks at snapshots and settings itself.
 */
export async function hideRefused(client: pg.Client): Promise<void> {
  const all = await readCatalog(client);
  const refused = [...all.functionsByOid.values()]
    .filter((fn) => fn.schema === "pg_catalog" && builtinUse(fn) === undefined)
    .map(({ oid }) => oid);
  await client.query("SET allow_system_table_mods = on");
  await client.query(
    `DELETE FROM pg_proc p WHERE oid = ANY ($1) AND prorettype <> ALL ('{internal,trigger,event_trigger}'::regtype[])
       AND NOT EXISTS (SELECT FROM pg_type WHERE p.oid IN (typinput, typoutput, typreceive, typsend, typmodin, typmodout, typanalyze))
       AND NOT EXISTS (SELECT FROM pg_operator WHERE p.oid IN (oprcode, oprrest, oprjoin))
       AND proname <> ALL ('{current_setting,set_config}') AND proname !~ 'snapshot|^pg_visible_in|^pg_show_all_settings'
       AND NOT EXISTS (SELECT FROM pg_cast WHERE castfunc = p.oid)
       AND NOT EXISTS (SELECT FROM pg_amproc WHERE amproc = p.oid)`,
    [refused],
  );
}

/** So many statements as it makes them of what is in this database; it runs none. */
export async function smithed(target: string, count: number, seed: string): Promise<readonly string[]> {
  if (sqlsmith === undefined) throw new Error("no sqlsmith");
  const { stdout } = await promisify(execFile)(
    sqlsmith.path,
    [`--target=${target}`, "--exclude-catalog", "--dry-run", `--max-queries=${count}`, `--seed=${seed}`],
    { env: { ...process.env, ...sqlsmith.environment }, maxBuffer: 256 * 1024 * 1024 },
  );
  return stdout.split(/;\s*\n/).filter((statement) => statement.trim() !== "");
}
