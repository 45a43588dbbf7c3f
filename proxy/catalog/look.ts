import type pg from "pg";
import type { Catalog } from "./catalog.ts";
import { type CatalogQuery, glanceSince, PROBE, SNAPSHOT } from "./queries.ts";
import { readCatalogIn } from "./snapshot.ts";
import { inSnapshot } from "./transaction.ts";

/** What is known beside the catalog itself; all of it is dropped when the probe shows a change. */
export interface Known {
  readonly catalog: Catalog;
  /** What the probe said in the same moment. */
  readonly probe: string;
  /** What a glance from then on sees as long as nothing changes. */
  readonly glance: string;
  readonly since: number;
  /** Which transactions have been looked at: moves on with each glance that saw nothing new. */
  snapshot: string;
  readonly unreadable: Map<string, Promise<ReadonlySet<string>>>;
  readonly searchPaths: Map<string, Promise<string | undefined>>;
}

/**
 * Asks the probe and, if it says anything new, reads the catalog in the same snapshot: a change that comes
 * later shows at the next probe. An unchanged catalog stays the same object, so verdicts made with it last.
 */
export async function look(client: pg.Client, known: Known | undefined): Promise<Known> {
  return inSnapshot(client, async () => {
    const snapshot = await answer(client, SNAPSHOT);
    const since = lowestRunning(snapshot);
    const seen = { snapshot, since, glance: await answer(client, glanceSince(since)) };
    const probe = await answer(client, PROBE);
    if (known !== undefined && known.probe === probe) return { ...known, ...seen };
    const read = await readCatalogIn(client);
    const catalog = known?.catalog.version === read.version ? known.catalog : read;
    return { catalog, probe, ...seen, unreadable: new Map(), searchPaths: new Map() };
  });
}

/**
 * Whether all that users have made looks as it is known: one round trip where nothing at all has been written since
 * the last time, in the whole server.
 */
export async function glance(client: pg.Client, known: Known): Promise<boolean> {
  if ((await answer(client, SNAPSHOT)) === known.snapshot) return true;
  return inSnapshot(client, async () => {
    const snapshot = await answer(client, SNAPSHOT);
    if ((await answer(client, glanceSince(known.since))) !== known.glance) return false;
    known.snapshot = snapshot;
    return true;
  });
}

/** The xmin of `xmin:xmax:xip_list` as a row has it: without the epoch. */
function lowestRunning(snapshot: string): number {
  return Number(BigInt(snapshot.split(":", 1)[0] ?? "0") & 0xffff_ffffn);
}

async function answer(client: pg.Client, { text }: CatalogQuery): Promise<string> {
  const { rows } = await client.query<[string]>({ text, rowMode: "array" });
  return rows[0]?.[0] ?? "";
}
